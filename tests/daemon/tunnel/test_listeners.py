"""Listening sockets inside a pod."""

from __future__ import annotations

import socket

import pytest

from bpf.layout import TunnelPort
from daemon.errors import EnrollError
from daemon.tunnel.listeners import open_listeners
from daemon.tunnel.sockets import KEEPALIVE
from tests.support.netns import Netns, netns, pair


def reach(client: Netns, address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with client.open_socket(family) as opened:
        try:
            opened.connect((address, port))
        except ConnectionRefusedError:
            return False
    return True


def test_hbone_is_on_all_addresses_and_outbound_on_loopback() -> None:
    with pair() as (client, pod):
        listeners = open_listeners(pod.fd)
        try:
            for address in (pod.v4, pod.v6):
                assert reach(client, address, TunnelPort.HBONE)
                assert not reach(client, address, TunnelPort.OUTBOUND)
            for address in ("127.0.0.1", "::1"):
                assert reach(pod, address, TunnelPort.HBONE)
                assert reach(pod, address, TunnelPort.OUTBOUND)
        finally:
            listeners.close()
        assert not reach(client, pod.v4, TunnelPort.HBONE)
        open_listeners(pod.fd).close()


def test_what_is_accepted_has_our_options_from_the_first_packet_on() -> None:
    with netns() as pod:
        listeners = open_listeners(pod.fd)
        try:
            for listener in listeners:
                family = listener.family
                loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
                with pod.open_socket(family) as opened:
                    opened.connect((loopback, listener.getsockname()[1]))
                    accepted, _ = listener.accept()
                with accepted:
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    idle = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                    assert idle == KEEPALIVE[0]
        finally:
            listeners.close()


def test_a_pod_whose_loopback_is_down_can_be_served() -> None:
    with netns() as pod:
        pod.run(["ip", "link", "set", "lo", "down"])
        listeners = open_listeners(pod.fd)
        pod.run(["ip", "link", "set", "lo", "up"])
        try:
            assert reach(pod, "::1", TunnelPort.OUTBOUND)
            assert reach(pod, "127.0.0.1", TunnelPort.OUTBOUND)
        finally:
            listeners.close()


@pytest.mark.parametrize(
    ("address", "port"),
    [("127.0.0.1", 15001), ("::", 15001), ("127.0.0.1", 15008), ("::", 15008)],
)
def test_a_port_that_is_taken_is_named(address: str, port: int) -> None:
    with netns() as pod, pod.listen(address, port):
        with pytest.raises(EnrollError, match=f"port {port} is taken"):
            open_listeners(pod.fd)
        # Nothing is left of the attempt.
        other = 15001 + 15008 - port
        pod.listen("127.0.0.1", other).close()
