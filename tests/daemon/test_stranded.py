"""UDP sockets whose endpoint is gone, real ones."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from bpf.addresses import mapped
from bpf.layout import Reply, ReplyKey
from bpf.maps import Maps
from daemon.stranded import Stranded
from tests.support.netns import pair

SO_COOKIE = 57


def connected(made: socket.socket, address: tuple[str, int], maps: Maps) -> None:
    """Connect, and remember it as the hooks do."""
    made.connect(address)
    cookie = int.from_bytes(made.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")
    kind = made.family
    key = ReplyKey(cookie, mapped(socket.inet_pton(kind, address[0])), address[1])
    maps.replies.put(key, Reply(bytes(16), 53))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_those_connected_to_what_is_gone_are_closed(family: int) -> None:
    maps = Maps.memory()
    stranded = Stranded(maps.replies)
    with (
        pair() as (client, server),
        client.open_socket(family, socket.SOCK_DGRAM) as lost,
        client.open_socket(family, socket.SOCK_DGRAM) as other,
        client.open_socket(family, socket.SOCK_DGRAM) as strange,
    ):
        gone = server.address(family)
        alive = client.address(family)
        connected(lost, (gone, 5300), maps)
        connected(other, (alive, 5300), maps)
        strange.connect((gone, 5300))  # not through the mesh
        address = mapped(socket.inet_pton(family, gone))
        stranded.close_all({address}, [os.dup(client.fd)])
        assert stranded.closed == 1
        with pytest.raises(OSError) as aborted:
            lost.recv(1)
        assert aborted.value.errno == errno.ECONNABORTED
        for going_on in (other, strange):
            assert going_on.getpeername()[1] == 5300
        assert [key.address for key, _ in maps.replies.items()] == [
            mapped(socket.inet_pton(family, alive))
        ]
