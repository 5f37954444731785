"""The peer query's answer: who made a connection, and what for.

``getsockopt(SOL_TCP, 200)`` on an accepted socket, answered by the node's
kernel programs; no privilege needed. The layout is ``struct peer`` of
bpf/include/abi.h (a test holds the two equal).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PEER_QUERY_LEVEL = 6
PEER_QUERY_OPTION = 200
FLOW_WAYPOINT = 1
FLOW_SERVICE = 2
FLOW_TUNNEL = 128
FLOW_TUNNELLED = 256

_PEER = struct.Struct("=QQ16s2sHIQ16s2s6x")
PEER_QUERY_SIZE = _PEER.size


@dataclass(frozen=True, slots=True)
class Peer:
    """A connection as its maker's kernel saw it.

    source: ``name_hash`` of the source workload's uid; target: ``target_hash``
    of what was asked for; original_address: packed, 16 bytes, IPv4 as v4-mapped.
    destination: ``name_hash`` of the uid of the workload connected to; far_address:
    with FLOW_TUNNEL the endpoint that the kernel chose, with FLOW_TUNNELLED the
    client at the other end of the tunnel.
    """

    source: int
    target: int
    original_address: bytes
    original_port: int
    flags: int
    destination: int = 0
    far_address: bytes = bytes(16)
    far_port: int = 0


def encode_peer(peer: Peer) -> bytes:
    """As the kernel answers."""
    return _PEER.pack(
        peer.source,
        peer.target,
        peer.original_address,
        peer.original_port.to_bytes(2, "big"),
        peer.flags,
        0,
        peer.destination,
        peer.far_address,
        peer.far_port.to_bytes(2, "big"),
    )


def parse_peer(answer: bytes) -> Peer:
    """Decode the kernel's answer; raises ValueError when it is too short."""
    if len(answer) < PEER_QUERY_SIZE:
        raise ValueError(f"peer query answered {len(answer)} bytes, not {PEER_QUERY_SIZE}")
    source, target, address, port, flags, _pad, destination, far, far_port = _PEER.unpack_from(
        answer
    )
    return Peer(
        source,
        target,
        address,
        int.from_bytes(port, "big"),
        flags,
        destination,
        far,
        int.from_bytes(far_port, "big"),
    )
