from __future__ import annotations

import socket

import pytest

from daemon.dns.sockets import PORT, Sockets, divert, open_sockets
from tests.support.netns import Netns, netns


def close(sockets: Sockets) -> None:
    for one in (*sockets.udp, *sockets.tcp):
        one.close()


def test_both_protocols_of_both_families_in_the_pods_netns() -> None:
    with netns() as pod:
        opened = open_sockets(pod.fd)
        try:
            families = [socket.AF_INET, socket.AF_INET6]
            assert [one.family for one in opened.udp] == families
            assert [one.family for one in opened.tcp] == families
            for address, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
                with pod.open_socket(family) as client:
                    client.connect((address, PORT))
                with pod.open_socket(family, socket.SOCK_DGRAM) as client:
                    client.sendto(b"x", (address, PORT))
            assert [one.recvfrom(9)[0] for one in opened.udp] == [b"x", b"x"]
        finally:
            close(opened)


def test_a_pod_whose_loopback_is_not_up_yet() -> None:
    with netns() as pod:
        pod.run(["ip", "addr", "flush", "dev", "lo"])
        pod.run(["ip", "link", "set", "lo", "down"])
        opened = open_sockets(pod.fd)
        try:
            pod.run(["ip", "link", "set", "lo", "up"])
            with pod.open_socket() as client:
                client.connect(("127.0.0.1", PORT))
        finally:
            close(opened)


def test_a_pod_that_uses_the_port_itself_is_left_alone() -> None:
    with netns() as pod, pod.listen("::1", PORT), pytest.raises(OSError):
        open_sockets(pod.fd)
    # What was opened before is closed: the port is free again.
    with netns() as pod:
        with pod.listen("::1", PORT), pytest.raises(OSError):
            open_sockets(pod.fd)
        close(open_sockets(pod.fd))


def test_a_diverted_socket_gets_nothing_more_but_holds_what_came() -> None:
    with netns() as pod:
        opened = open_sockets(pod.fd)
        try:
            for udp in opened.udp:
                check_diverted(pod, udp)
        finally:
            close(opened)


def check_diverted(pod: Netns, udp: socket.socket) -> None:
    with pod.open_socket(udp.family, socket.SOCK_DGRAM) as client:
        client.connect(udp.getsockname())
        client.send(b"before")
        divert(udp)
        client.send(b"after")
        with pytest.raises(ConnectionRefusedError):
            client.recv(9)
        got, peer = udp.recvfrom(9)
        assert got == b"before"
        udp.sendto(b"reply", peer)
        assert client.recv(9) == b"reply"
        with pytest.raises(BlockingIOError):
            udp.recvfrom(9)
