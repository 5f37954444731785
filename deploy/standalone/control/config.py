"""The control process's arguments. It reads no environment."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TypeVar

from deploy.standalone.config import ACCESS_LOGS, TRUST_DOMAIN, TRUST_DOMAIN_FORM
from deploy.standalone.control.allocate import Ranges
from deploy.standalone.control.errors import ConfigError
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.watch import absolute

ADS_PORT = 15012

N = TypeVar("N", IPv4Network, IPv6Network)


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """A control plane. listen, xds_address: ``address:port`` of ADS, here and as pods
    reach it; the latter empty for an address of this network namespace. nodes: where the
    agent of each calls from. members: addresses of processes on each node that are in no
    pod. resolver_netns: where the machine's resolvers are reached; None for here.
    access_log: of waypoints.
    """

    mesh: str
    state_dir: Path
    files: tuple[Path, ...]
    ranges: Ranges
    nodes: Mapping[str, frozenset[IpAddress]]
    members: Mapping[str, frozenset[IpAddress]]
    listen: str
    xds_address: str
    log_level: str
    resolver_netns: Path | None = None
    trust_domain: str = TRUST_DOMAIN
    access_log: str = ACCESS_LOGS[0]

    @property
    def ads_port(self) -> str:
        """ADS's port, as text."""
        return self.listen.rpartition(":")[2]

    @property
    def socket(self) -> Path:
        """The API's socket."""
        return self.state_dir / "control.sock"

    @property
    def roots(self) -> Path:
        """The trusted roots, for everybody to read."""
        return self.state_dir / "roots.pem"

    @property
    def own_dir(self) -> Path:
        """This process's own state."""
        return self.state_dir / "control"


def make_parser() -> argparse.ArgumentParser:
    """The arguments, with their help."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.standalone.control",
        description="The standalone mesh's control plane: YAML in, delta ADS and pods out.",
    )
    parser.add_argument("--mesh", required=True, help="the mesh's name, for logs")
    parser.add_argument("--state-dir", required=True, type=Path, help="the mesh's directory")
    parser.add_argument(
        "--file", action="append", default=[], type=Path, metavar="FILE_OR_DIR",
        help="manifests to watch; may be repeated",
    )  # fmt: skip
    parser.add_argument("--service-cidr4", default="", help="addresses of Services, IPv4")
    parser.add_argument("--service-cidr6", default="", help="addresses of Services, IPv6")
    parser.add_argument(
        "--node", action="append", default=[], metavar="NAME=ADDRESS[,ADDRESS]",
        help="a node, and where its agent calls from; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--members", action="append", default=[], metavar="NAME=ADDRESS[,ADDRESS]",
        help="beside a node's own addresses, those of processes that it may take into the "
        "mesh by their cgroup; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--trust-domain", default=TRUST_DOMAIN, metavar="DOMAIN",
        help="of all identities in the mesh (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--access-log", default=ACCESS_LOGS[0], choices=ACCESS_LOGS,
        help="of waypoints (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--listen", default=f"[::]:{ADS_PORT}", help="where ADS listens (default: %(default)s)"
    )
    parser.add_argument(
        "--xds-address", default="", metavar="ADDRESS:PORT",
        help="where pods reach ADS, told to waypoints (default: this netns's own address)",
    )  # fmt: skip
    parser.add_argument(
        "--resolver-netns", type=Path, metavar="FILE",
        help="the network namespace that host names are resolved in (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warn", "error")
    )
    return parser


def parse(arguments: Sequence[str]) -> ControlConfig:
    """Read the arguments; raises ConfigError (SystemExit for what argparse finds)."""
    found = make_parser().parse_args(arguments)
    if not found.node:
        raise ConfigError("--node: name at least one node")
    nodes = dict(read_node("--node", text) for text in found.node)
    if len(nodes) != len(found.node):
        raise ConfigError(f"--node: {', '.join(found.node)}: each name may occur once")
    if not TRUST_DOMAIN_FORM.fullmatch(found.trust_domain):
        raise ConfigError(
            f"--trust-domain: {found.trust_domain!r}: use lowercase letters, digits, dots, "
            "dashes and underscores"
        )
    ranges = Ranges(
        network("--service-cidr4", found.service_cidr4, IPv4Network),
        network("--service-cidr6", found.service_cidr6, IPv6Network),
    )
    if not ranges.networks():
        raise ConfigError("--service-cidr4 or --service-cidr6: give at least one range")
    return ControlConfig(
        mesh=found.mesh,
        state_dir=found.state_dir,
        files=absolute(found.file),
        ranges=ranges,
        nodes=nodes,
        members=with_members(nodes, found.members),
        listen=found.listen,
        xds_address=found.xds_address,
        log_level=found.log_level,
        resolver_netns=found.resolver_netns,
        trust_domain=found.trust_domain,
        access_log=found.access_log,
    )


def with_members(
    nodes: Mapping[str, frozenset[IpAddress]], arguments: Sequence[str]
) -> dict[str, frozenset[IpAddress]]:
    """The addresses of processes on each node; raises ConfigError."""
    found = dict(nodes)
    for text in arguments:
        name, addresses = read_node("--members", text)
        if name not in found:
            raise ConfigError(f"--members {text}: there is no --node {name}")
        found[name] |= addresses
    return found


def read_node(argument: str, text: str) -> tuple[str, frozenset[IpAddress]]:
    """A node and its addresses; raises ConfigError."""
    name, _, addresses = text.partition("=")
    try:
        found = frozenset(map(ipaddress.ip_address, addresses.split(",")))
    except ValueError as error:
        raise ConfigError(
            f"{argument} {text}: expected NAME=ADDRESS[,ADDRESS]: {error}"
        ) from error
    return name, found


def network(argument: str, text: str, kind: type[N]) -> N | None:
    """A range of addresses; None for an empty text; raises ConfigError."""
    if not text:
        return None
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{argument}: {error}") from error
    if not isinstance(found, kind) or found.num_addresses < 64:
        raise ConfigError(f"{argument}: {text} is no {kind.__name__} of 64 addresses or more")
    return found
