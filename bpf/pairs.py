"""How the kernel names a connection that both of its ends are known of."""

from __future__ import annotations

import struct
from typing import Final

from bpf.layout import FlowKey

#: An end as order_pair() of include/flows.h compares it: words as the machine has them.
END: Final = struct.Struct("=QQH")


def lower_first(key: FlowKey) -> FlowKey:
    """The key of a flow's connection in the map ``accelerated``."""
    source = END.unpack(key.source + key.source_port.to_bytes(2, "big"))
    destination = END.unpack(key.destination + key.destination_port.to_bytes(2, "big"))
    if source <= destination:
        return key
    return FlowKey(
        key.destination, key.source, key.destination_port, key.source_port, key.netns
    )
