"""L4 options that istio.workload has no field for.

They ride on a resource as an Extension of this name, a google.protobuf.Struct:

    Service    sessionAffinitySeconds   a number: a client keeps its endpoint for so long
               leastConnections         true: the less busy of two endpoints is taken
    Workload   accelerate               true: it asks for acceleration on its node
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypedDict

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from ztunnel_compat.errors import ResourceError
from ztunnel_compat.model import Extension

L4_EXTENSION: Final = "tandem.io/l4"
STRUCT_TYPE: Final = "type.googleapis.com/google.protobuf.Struct"
MOST_SECONDS: Final = (1 << 32) - 1


class ServiceOptions(TypedDict, total=False):
    """Fields of model.Service that come from the extension."""

    affinity_seconds: int
    least_connections: bool


class WorkloadOptions(TypedDict, total=False):
    """Fields of model.Workload that come from the extension."""

    accelerate: bool


def service_options(extensions: Iterable[Extension]) -> ServiceOptions:
    """What the extension says of a service; raises ResourceError naming field and value."""
    options = ServiceOptions()
    for name, value in entries(extensions):
        if name == "sessionAffinitySeconds":
            options["affinity_seconds"] = seconds(name, value)
        elif name == "leastConnections":
            options["least_connections"] = truth(name, value)
        else:
            raise unknown(name, value)
    return options


def workload_options(extensions: Iterable[Extension]) -> WorkloadOptions:
    """What the extension says of a workload; raises ResourceError naming field and value."""
    options = WorkloadOptions()
    for name, value in entries(extensions):
        if name == "accelerate":
            options["accelerate"] = truth(name, value)
        else:
            raise unknown(name, value)
    return options


def entries(extensions: Iterable[Extension]) -> list[tuple[str, Any]]:
    """The extension's entries, none when it isn't there."""
    found: list[tuple[str, Any]] = []
    for extension in extensions:
        if extension.name != L4_EXTENSION:
            continue
        if extension.type_url != STRUCT_TYPE:
            raise ResourceError(
                f"extensions[{L4_EXTENSION}].config: {extension.type_url!r}, not {STRUCT_TYPE}"
            )
        try:
            found += Struct.FromString(extension.value).items()
        except DecodeError as error:
            raise ResourceError(f"extensions[{L4_EXTENSION}]: no Struct: {error}") from error
    return found


def seconds(name: str, value: Any) -> int:
    """A whole number of seconds."""
    if not isinstance(value, float) or not value.is_integer() or not 0 <= value <= MOST_SECONDS:
        raise ResourceError(
            f"extensions[{L4_EXTENSION}].{name}: {value!r} is no number of seconds"
        )
    return int(value)


def truth(name: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ResourceError(
            f"extensions[{L4_EXTENSION}].{name}: {value!r} is not true or false"
        )
    return value


def unknown(name: str, value: Any) -> ResourceError:
    """An option from the future, or misspelt: half of it must not be used."""
    return ResourceError(f"extensions[{L4_EXTENSION}].{name}: unknown option, value {value!r}")
