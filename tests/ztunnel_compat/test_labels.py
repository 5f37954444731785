from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from ztunnel_compat.labels import LABELS_EXTENSION, STRUCT_TYPE, workload_labels
from ztunnel_compat.model import Extension, Workload


def struct(**fields: str | int) -> bytes:
    message = Struct()
    message.update(fields)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("extensions", "labels"),
    [
        ((), {}),
        ((Extension("other", STRUCT_TYPE, struct(a="b")),), {}),
        ((Extension(LABELS_EXTENSION, "other", struct(a="b")),), {}),
        ((Extension(LABELS_EXTENSION, STRUCT_TYPE, struct(a="b", c="")),), {"a": "b", "c": ""}),
        ((Extension(LABELS_EXTENSION, STRUCT_TYPE, struct(a="b", n=1)),), {"a": "b"}),
        ((Extension(LABELS_EXTENSION, STRUCT_TYPE, b"\xff"),), {}),
    ],
)
def test_labels(extensions: tuple[Extension, ...], labels: dict[str, str]) -> None:
    assert workload_labels(Workload("w", extensions=extensions)) == labels
