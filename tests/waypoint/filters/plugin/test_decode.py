from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from xds.type.v3.typed_struct_pb2 import TypedStruct

from tests.waypoint.filters.plugin.mesh import struct
from waypoint.errors import RouteError
from waypoint.filters.plugin.decode import build
from waypoint.filters.plugin.spec import PluginSpec


def read(**fields: object) -> PluginSpec:
    return build("p", struct(**fields).SerializeToString(), "at.").spec


def test_what_is_set_and_what_is_not() -> None:
    spec = read(
        code="x", className="F", config={"a": 1, "b": [2.5]}, failOpen=True, timeout=0.5,
        memory=32 << 20,
    )  # fmt: skip
    assert spec == PluginSpec(
        "p", code="x", class_name="F", config='{"a": 1, "b": [2.5]}', fail_open=True,
        timeout=0.5, memory=32 << 20,
    )  # fmt: skip
    plain = read(entryPoint="e")
    assert (plain.fail_open, plain.timeout, plain.memory) == (False, 0.05, 64 << 20)
    # What makes a difference makes another version.
    keys = {
        read(entryPoint="e", **more).key
        for more in ({}, {"failOpen": True}, {"timeout": 1}, {"config": {"a": 1}})
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at.value: give code and className, or entryPoint"),
        ({"code": "x"}, "at.value: give code and className, or entryPoint"),
        ({"code": "x", "className": "F", "entryPoint": "e"}, "give code and className, or"),
        ({"entryPoint": 1}, "at.value.entryPoint is no text"),
        ({"entryPoint": "e", "failOpen": "yes"}, "failOpen 'yes' is neither true nor false"),
        ({"entryPoint": "e", "timeout": 0}, "timeout 0.0 is not from 0.001 to 60"),
        ({"entryPoint": "e", "timeout": True}, "timeout True is not from"),
        ({"entryPoint": "e", "memory": 5}, "memory 5.0 is not from"),
        ({"entryPoint": "e", "config": []}, "at.value.config is no object"),
        ({"entryPoint": "e", "sandbox": False}, "at.value.sandbox is not known here"),
        ({"code": "x" * 70_000, "className": "F"}, "more than 65536 characters"),
    ],
)
def test_what_cannot_be_honoured_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(RouteError, match=message.replace(".", r"\.")):
        read(**fields)


def test_another_type_is_none() -> None:
    other = TypedStruct(type_url="type.googleapis.com/other", value=Struct())
    with pytest.raises(RouteError, match=r"type_url 'type\.googleapis\.com/other' is not"):
        build("p", other.SerializeToString(), "at.")
