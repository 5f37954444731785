from __future__ import annotations

import pytest

from bpf import layout
from ztunnel_compat import peer
from ztunnel_compat.peer import Peer, encode_peer, parse_peer

FLOW = layout.Flow(
    source=0x1122334455667788,
    target=0x99AABBCCDDEEFF00,
    original=bytes(range(16)),
    original_port=0x1F90,
    flags=3,
)


def test_layout_is_the_kernels():
    assert peer.PEER_QUERY_SIZE == layout.Peer.SIZE
    assert parse_peer(FLOW.pack()) == Peer(
        source=FLOW.source,
        target=FLOW.target,
        original_address=FLOW.original,
        original_port=FLOW.original_port,
        flags=FLOW.flags,
    )


def test_encoding_is_the_inverse():
    peer = Peer(1, 2, bytes(range(16)), 80, 257, 3, bytes(range(16, 32)), 4711)
    assert parse_peer(encode_peer(peer)) == peer
    assert parse_peer(FLOW.pack()) == parse_peer(encode_peer(parse_peer(FLOW.pack())))


def test_numbers_are_the_kernels():
    assert peer.PEER_QUERY_LEVEL == layout.PeerQuery.LEVEL
    assert peer.PEER_QUERY_OPTION == layout.PeerQuery.OPTION
    assert peer.FLOW_WAYPOINT == layout.FlowFlag.WAYPOINT
    assert peer.FLOW_SERVICE == layout.FlowFlag.SERVICE


@pytest.mark.parametrize("length", [0, 1, peer.PEER_QUERY_SIZE - 1])
def test_short_answers_are_refused(length):
    with pytest.raises(ValueError, match=f"answered {length} bytes"):
        parse_peer(bytes(length))
