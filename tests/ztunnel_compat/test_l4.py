from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from ztunnel_compat.errors import ResourceError
from ztunnel_compat.l4 import L4_EXTENSION, STRUCT_TYPE, service_options, workload_options
from ztunnel_compat.model import Extension


def riding(**options: Any) -> Extension:
    struct = Struct()
    struct.update(options)
    return Extension(L4_EXTENSION, STRUCT_TYPE, struct.SerializeToString())


OTHER = Extension("x", "t/x", b"\xff")


def test_options() -> None:
    assert service_options([OTHER]) == workload_options([OTHER]) == {}
    assert service_options([OTHER, riding(sessionAffinitySeconds=60)]) == {
        "affinity_seconds": 60
    }
    assert service_options([riding(leastConnections=True, sessionAffinitySeconds=0)]) == {
        "affinity_seconds": 0,
        "least_connections": True,
    }
    assert workload_options([riding(accelerate=False)]) == {"accelerate": False}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"sessionAffinitySeconds": 1.5},
            "Seconds: 1.5 is no number of seconds",
        ),
        ({"sessionAffinitySeconds": -1}, "sessionAffinitySeconds: -1.0 is no number"),
        ({"sessionAffinitySeconds": 1 << 32}, "4294967296.0 is no number of seconds"),
        ({"sessionAffinitySeconds": "60"}, "sessionAffinitySeconds: '60' is no number"),
        ({"sessionAffinitySeconds": True}, "sessionAffinitySeconds: True is no number"),
        ({"leastConnections": 1}, "leastConnections: 1.0 is not true or false"),
        ({"leastRequests": True}, "leastRequests: unknown option, value True"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ResourceError) as caught:
        service_options([riding(**options)])
    assert "extensions[tandem.io/l4]" in str(caught.value)
    assert said in str(caught.value)


def test_what_is_no_struct_is_named() -> None:
    with pytest.raises(ResourceError, match=r"\[tandem.io/l4\]: no Struct"):
        workload_options([Extension(L4_EXTENSION, STRUCT_TYPE, b"\xff")])
    with pytest.raises(ResourceError, match=r"\[tandem.io/l4\].config: 't/x', not type"):
        workload_options([Extension(L4_EXTENSION, "t/x", b"")])
