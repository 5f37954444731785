"""Where a CONNECT leads."""

from __future__ import annotations

import ipaddress

import pytest

from daemon.tunnel.destination import TUNNEL_PORTS, Destination, destination
from ztunnel_compat.errors import HboneError
from ztunnel_compat.hbone import parse_authority
from ztunnel_compat.model import ApplicationTunnel, NetworkAddress, Service, Workload
from ztunnel_compat.state import WorkloadState

LOCAL = ipaddress.ip_address("10.0.0.2").packed
VIP = ipaddress.ip_address("10.96.0.1").packed
POD = Workload(uid="pod", addresses=(LOCAL,))
GATE = Workload(uid="gate", addresses=(LOCAL,), application_tunnel=ApplicationTunnel(15088))


def led_to(authority: str, workload: Workload | None = POD) -> Destination:
    mesh = WorkloadState()
    mesh.apply([Service("web", "apps", "web.apps", (NetworkAddress("", VIP),))], ())
    return destination(parse_authority(authority.encode()), LOCAL, workload, mesh)


def test_a_pod_s_own_address() -> None:
    assert led_to("10.0.0.2:80") == Destination(80)
    assert led_to("[::ffff:10.0.0.2]:80") == Destination(80)
    assert led_to("10.0.0.2:80", None) == Destination(80)


@pytest.mark.parametrize("authority", ["10.96.0.1:80", "10.0.0.9:80", "[fd00::1]:80"])
def test_a_waypoint_is_asked_for_anything(authority: str) -> None:
    assert led_to(authority, GATE) == Destination(15088, proxied=True)


@pytest.mark.parametrize(
    ("authority", "said"),
    [
        ("10.96.0.1:80", "a service's address"),
        ("10.0.0.3:80", "another address"),
        ("[fd00::2]:80", "another address"),
        ("web.apps.svc.cluster.local:80", "a service's name"),
    ],
)
def test_what_isn_t_the_pod_is_refused(authority: str, said: str) -> None:
    with pytest.raises(HboneError, match=said):
        led_to(authority)


@pytest.mark.parametrize("port", sorted(TUNNEL_PORTS))
@pytest.mark.parametrize("workload", [POD, GATE])
def test_ports_of_tunnels_are_refused(port: int, workload: Workload) -> None:
    with pytest.raises(HboneError, match="within a tunnel"):
        led_to(f"10.0.0.2:{port}", workload)


def test_names_are_refused_for_a_waypoint_too() -> None:
    with pytest.raises(HboneError, match="service's name"):
        led_to("web.apps.svc.cluster.local:80", GATE)
