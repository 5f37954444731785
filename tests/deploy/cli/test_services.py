"""Where services are."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.cli.services import addresses, bookinfo_page, url


def service(name: str, *vips: str, port: str = "http", number: int = 80) -> dict[str, Any]:
    ports = [{"name": port, "port": number, "protocol": "TCP"}]
    return {
        "namespace": "shop",
        "name": name,
        "vips": list(vips),
        "ports": ports,
        "entry": False,
    }


@pytest.mark.parametrize(
    ("vip", "name", "protocol", "expected"),
    [
        ("10.96.0.1", "http", "TCP", "http://10.96.0.1:80"),
        ("10.96.0.1", "http-web", "TCP", "http://10.96.0.1:80"),
        ("10.96.0.1", "https", "TCP", "10.96.0.1:80"),
        ("10.96.0.1", "", "TCP", "10.96.0.1:80"),
        ("fd00::1", "http", "TCP", "http://[fd00::1]:80"),
        ("10.96.0.1", "dns", "UDP", "10.96.0.1:80/udp"),
    ],
)
def test_url(vip: str, name: str, protocol: str, expected: str) -> None:
    assert url(vip, {"name": name, "port": 80, "protocol": protocol}) == expected


def test_table_has_the_first_address_of_each_service_with_one() -> None:
    table = addresses([service("b", "10.96.0.2", "fd00::2"), service("a"), service("c", "::3")])
    host = service("d", "240.240.0.1") | {"entry": True}
    assert addresses([host, service("c", "::3")]).splitlines()[1:] == table.splitlines()[2:]
    assert table.splitlines() == [
        "NAMESPACE   SERVICE   ADDRESS",
        "shop        b         http://10.96.0.2:80",
        "shop        c         http://[::3]:80",
    ]


def test_bookinfo_page() -> None:
    page = service("productpage", "10.96.0.9", number=9080)
    assert bookinfo_page([service("a"), page]) == "http://10.96.0.9:9080/productpage"
    assert bookinfo_page([service("a", "10.96.0.2")]) is None
