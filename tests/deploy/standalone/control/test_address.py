"""In network namespaces of its own, through iproute2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.standalone.control.waypoints import PACKAGES

ASK = "from deploy.standalone.control.address import own_address; print(own_address())"


@pytest.fixture
def netns() -> Iterator[str]:
    name = f"address-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def inside(netns: str, *command: str) -> str:
    argv = ["ip", "netns", "exec", netns, *command]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=PACKAGES)
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.244.255.253/24", "fd00::fd/64"], "10.244.255.253"),
        (["fd00::fd/64"], "[fd00::fd]"),
        ([], "this network namespace has no address"),
    ],
)
def test_the_first_address_that_is_no_loopbacks(
    netns: str, addresses: list[str], expected: str
) -> None:
    inside(netns, "ip", "link", "set", "lo", "up")
    inside(netns, "ip", "link", "add", "br0", "type", "bridge")
    inside(netns, "ip", "link", "set", "br0", "up")
    for address in addresses:
        inside(
            netns,
            "ip",
            "address",
            "add",
            address,
            "dev",
            "br0",
            *(["nodad"] * (":" in address)),
        )
    found = inside(netns, sys.executable, "-c", ASK)
    assert found.splitlines()[-1].endswith(expected) or expected in found
