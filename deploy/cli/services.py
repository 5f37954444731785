"""Where services are, for a user who wants to open one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from deploy.cli.output import render_table
from deploy.standalone.client import Table

Service = Mapping[str, Any]


def addresses(services: Sequence[Service]) -> str:
    """A table of all services that have an address, from a snapshot's services.

    Not of hosts of ServiceEntries: their addresses hold inside of the mesh only.
    """
    rows = [
        (service["namespace"], service["name"], url(vip, port))
        for service in sorted(services, key=lambda each: (each["namespace"], each["name"]))
        if not service["entry"]
        for vip in service["vips"][:1]
        for port in service["ports"]
    ]
    return render_table(Table(("NAMESPACE", "SERVICE", "ADDRESS"), tuple(rows)))


def bookinfo_page(services: Sequence[Service]) -> str | None:
    """The page of the bookinfo sample, if it is there."""
    for service in services:
        if service["name"] == "productpage" and service["vips"] and service["ports"]:
            return f"{url(service['vips'][0], service['ports'][0])}/productpage"
    return None


def url(vip: str, port: Mapping[str, Any]) -> str:
    """Where a port is: a URL if its name says HTTP, as Istio reads names."""
    host = f"[{vip}]" if ip_address(vip).version == 6 else vip
    place = f"{host}:{port['port']}"
    if port["protocol"] != "TCP":
        return f"{place}/{port['protocol'].lower()}"
    return f"http://{place}" if port["name"].partition("-")[0] == "http" else place
