"""What L4 is told of services and workloads that Istio's messages have no field for.

It rides in the stream's extensions, as a Struct that whoever doesn't know it
passes over; ``ztunnel_compat.l4`` reads it.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from proto import workload_pb2 as pb
from ztunnel_compat.l4 import L4_EXTENSION


def l4_extensions(**options: int | bool) -> list[pb.Extension]:
    """An extension with the options that are set; none when none is."""
    given = {name: value for name, value in options.items() if value}
    if not given:
        return []
    content = Struct()
    content.update(given)
    extension = pb.Extension(name=L4_EXTENSION)
    extension.config.Pack(content, deterministic=True)
    return [extension]
