"""Queries that were lost with a predecessor, on real sockets."""

from __future__ import annotations

import errno
import socket

import pytest

from daemon.dns.orphans import close_orphans
from daemon.dns.sockets import LOOPBACKS, PORT, divert, open_sockets
from tests.support.netns import pair


@pytest.mark.parametrize(("family", "address"), LOOPBACKS)
def test_who_asked_a_dead_predecessor_is_told(
    family: socket.AddressFamily, address: str
) -> None:
    with (
        pair() as (pod, _),
        pod.open_socket(family, socket.SOCK_DGRAM) as asking,
        pod.open_socket(family, socket.SOCK_DGRAM) as other,
    ):
        before = open_sockets(pod.fd)
        asking.connect((address, PORT))
        asking.send(b"query")
        other.connect((address, PORT + 1))
        for opened in (*before.udp, *before.tcp):  # as a killed process does
            opened.close()
        assert close_orphans(pod.fd) == 1
        with pytest.raises(OSError) as aborted:
            asking.recv(1)
        assert aborted.value.errno == errno.ECONNABORTED
        assert other.getpeername()[1] == PORT + 1
        assert close_orphans(pod.fd) == 0


def test_a_predecessor_that_still_answers_is_left_to_it() -> None:
    with pair() as (pod, _), pod.open_socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        before = open_sockets(pod.fd)
        asking.connect(("127.0.0.1", PORT))
        asking.send(b"query")
        for opened in before.udp:
            divert(opened)
        assert close_orphans(pod.fd) == 0
        question, peer = before.udp[0].recvfrom(100)
        before.udp[0].sendto(b"answer", peer)
        assert (question, asking.recv(100)) == (b"query", b"answer")
        for opened in (*before.udp, *before.tcp):
            opened.close()
