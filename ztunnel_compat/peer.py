"""The peer query's answer: who made a connection, and what for.

``getsockopt(SOL_TCP, 200)`` on an accepted socket, answered by the node's
kernel programs; no privilege needed. The layout is ``struct flow`` of
bpf/include/abi.h (a test holds the two equal).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PEER_QUERY_LEVEL = 6
PEER_QUERY_OPTION = 200
FLOW_WAYPOINT = 1
FLOW_SERVICE = 2

_FLOW = struct.Struct("=QQ16s2sHI")
PEER_QUERY_SIZE = _FLOW.size


@dataclass(frozen=True, slots=True)
class Peer:
    """A connection as its maker's kernel saw it.

    source: ``name_hash`` of the source workload's uid; target: ``target_hash``
    of what was asked for; original_address: packed, 16 bytes, IPv4 as v4-mapped.
    """

    source: int
    target: int
    original_address: bytes
    original_port: int
    flags: int


def parse_peer(answer: bytes) -> Peer:
    """Decode the kernel's answer; raises ValueError when it is too short."""
    if len(answer) < PEER_QUERY_SIZE:
        raise ValueError(f"peer query answered {len(answer)} bytes, not {PEER_QUERY_SIZE}")
    source, target, address, port, flags, _pad = _FLOW.unpack_from(answer)
    return Peer(source, target, address, int.from_bytes(port, "big"), flags)
