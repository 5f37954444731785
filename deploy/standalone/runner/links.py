"""Interfaces, addresses and routes, in few words.

Thin over pyroute2, which speaks netlink: no `ip` command is needed. Every
function works in the netns where the IPRoute was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from deploy.standalone.runner.errors import NetworkError

IFA_F_NODAD = 0x02
RTNH_F_ONLINK = 0x04
SCOPE_LINK = 253
LOOPBACK = 1
SYSCTL = Path("/proc/sys/net")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn netlink's errors into NetworkError that says what was being done."""
    try:
        yield
    except NetlinkError as error:
        raise NetworkError(f"{what}: {error.args[-1]}") from error


def sysctl(name: str, value: int) -> None:
    """Set net/<name> in the netns of the calling thread."""
    (SYSCTL / name).write_text(str(value))


def quiet_interfaces() -> None:
    """Make addresses usable at once, on interfaces that are made from now on.

    No duplicate address detection (a second of waiting each) and no router
    solicitation: we give every address ourselves.
    """
    for scope in ("all", "default"):
        sysctl(f"ipv6/conf/{scope}/accept_dad", 0)
        sysctl(f"ipv6/conf/{scope}/dad_transmits", 0)
        sysctl(f"ipv6/conf/{scope}/accept_ra", 0)


def index(ip: IPRoute, name: str) -> int:
    """An interface's index; raises NetworkError when there is none of that name."""
    found: list[int] = ip.link_lookup(ifname=name)
    if not found:
        raise NetworkError(f"interface {name} is missing")
    return found[0]


def up(ip: IPRoute, link: int) -> None:
    """Bring an interface up."""
    ip.link("set", index=link, state="up")


def add_address(ip: IPRoute, link: int, address: str, length: int, *, scope: int = 0) -> None:
    """Give an interface an address that works at once."""
    flags = IFA_F_NODAD if ":" in address else 0
    ip.addr("add", index=link, address=address, prefixlen=length, scope=scope, flags=flags)


def add_route(
    ip: IPRoute, destination: str, link: int, *, via: str = "", source: str = ""
) -> None:
    """Route a destination ("default" or a CIDR) out of an interface.

    via: the next hop, taken as on the link; source: the address that the
    machine's own packets get.
    """
    family = "::/0" if ":" in (via or destination) else "0.0.0.0/0"
    options: dict[str, object] = {"oif": link}
    if via:
        options |= {"gateway": via, "flags": RTNH_F_ONLINK}
    elif family == "0.0.0.0/0":
        options["scope"] = SCOPE_LINK
    if source:
        options["prefsrc"] = source
    ip.route("add", dst=family if destination == "default" else destination, **options)
