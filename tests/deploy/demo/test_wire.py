"""An eavesdropper in a real network namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.wire import Tap, legible, parse
from tests.bpf.raw import ACK, Segment
from tests.support.netns import pair

ENDS = {
    4: (("192.0.2.1", 40000), ("192.0.2.2", 9080)),
    6: (("2001:db8::1", 40000), ("2001:db8::2", 9080)),
}
REQUEST = b"GET /ratings/0 HTTP/1.1\r\nHost: ratings:9080\r\nx-demo: 5c1f\r\n\r\n"


@pytest.mark.parametrize("version", [4, 6])
def test_a_packet_is_read(version: int) -> None:
    source, destination = ENDS[version]
    packed = Segment(source, destination, ACK, data=b"hello").pack()
    # What Ethernet pads a short frame with is nobody's.
    found = parse(packed + bytes(6))
    assert found is not None
    assert found.ends == {source[0], destination[0]}
    assert (found.ports, found.payload) == ((40000, 9080), b"hello")


@pytest.mark.parametrize("size", [0, 1, 19, 20, 33, 39])
def test_what_is_no_whole_tcp_packet_is_passed_over(size: int) -> None:
    for version in (4, 6):
        assert parse(Segment(*ENDS[version], ACK).pack()[:size]) is None


def test_what_passes_between_two_ends_is_kept_and_nothing_else() -> None:
    with pair() as (client, server):
        with (
            server.listen(server.v4, 9080) as listener,
            server.listen(server.v6, 9080) as other,
            Tap(Path(server.path), [client.v4], [server.v4]) as tap,
        ):
            for one in (listener, other):
                with client.open_socket(one.family) as asking:
                    asking.connect(one.getsockname()[:2])
                    asking.sendall(REQUEST)
                    accepted, _ = one.accept()
                    with accepted:
                        assert accepted.recv(1000) == REQUEST
        (found,) = tap.holding(b"x-demo: 5c1f")
        assert found.ends == {client.v4, server.v4}
        assert found.payload == REQUEST
        assert tap.outside_of(9080) == []
        assert len(tap.outside_of(1)) == len(tap.packets) > 3


def test_a_line_is_shown_with_the_first() -> None:
    assert legible(REQUEST, b"x-demo") == "GET /ratings/0 HTTP/1.1 … x-demo: 5c1f"
    assert legible(REQUEST, b"GET") == "GET /ratings/0 HTTP/1.1"
    assert legible(b"\x00\xff x-demo: 5c1f", b"x-demo").endswith("x-demo: 5c1f")


def test_a_namespace_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="nowhere"), Tap(Path("/nowhere"), [], []):
        pass
