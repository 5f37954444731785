"""What must be so before anything is made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path

from pyroute2 import IPRoute

from bpf import bpffs, probe
from deploy.standalone.config import BPFFS, MeshConfig
from deploy.standalone.runner import cgroups
from deploy.standalone.runner.errors import PreflightError

Check = Callable[[MeshConfig, Sequence[Path]], Iterable[str]]
RESOLV_CONF = Path("/etc/resolv.conf")
PROC = Path("/proc")


def require_root() -> None:
    """Raise PreflightError unless this process is root's."""
    if os.geteuid() != 0:
        raise PreflightError(
            "must run as root: it makes network namespaces and loads programs into the kernel"
        )


def require(config: MeshConfig, files: Sequence[Path]) -> None:
    """Raise PreflightError with one line for each thing that is missing or in the way.

    Not to be called from a running event loop: it speaks netlink.
    """
    problems = [problem for check in CHECKS for problem in check(config, files)]
    if problems:
        raise PreflightError("\n".join(problems))


def check_files(_config: MeshConfig, files: Sequence[Path]) -> Iterator[str]:
    """The manifests are there."""
    for file in files:
        if not file.exists():
            yield f"{file}: no such file or directory"


def check_tools(_config: MeshConfig, _files: Sequence[Path]) -> Iterator[str]:
    """What we run, and what we mount over, is there."""
    if shutil.which("nft") is None:
        yield "nft is missing: apt-get install nftables"
    if not RESOLV_CONF.exists():
        yield f"{RESOLV_CONF} doesn't exist: make it, empty will do; pods see their own there"


def check_kernel(_config: MeshConfig, _files: Sequence[Path]) -> Iterator[str]:
    """The kernel has what the programs and the network need."""
    try:
        mount = cgroups.mounted()
    except PreflightError as error:
        yield str(error)
        return
    if not bpffs.holds(BPFFS) and "\tbpf\n" not in (PROC / "filesystems").read_text():
        yield f"no BPF file system at {BPFFS}, and the kernel has none to mount there"
    if not (PROC / "sys/net/ipv6").is_dir():
        yield "the kernel has no IPv6 (ipv6.disable=1?): pods have an address of each family"
    yield from map(str, probe.missing_features(mount))


def check_ranges(config: MeshConfig, _files: Sequence[Path]) -> Iterator[str]:
    """Nobody else uses our addresses on this machine; one route tells enough of a range."""
    told: set[str] = set()
    with IPRoute() as ip:
        ours = set(ip.link_lookup(ifname=config.host_interface))
        for route in ip.get_routes():
            destination, link = route.get("dst"), route.get("oif")
            if not destination or link in ours:
                continue
            used = f"{destination}/{route['dst_len']}"
            for cidr in conflicts(config, used):
                if cidr in told:
                    continue
                told.add(cidr)
                names = [found.get("ifname") for found in ip.get_links(link)] if link else []
                on = f" on {names[0]}" if names else ""
                yield (
                    f"{cidr} is in use on this machine: there is a route to {used}{on}; "
                    "choose another with --pod-cidr or --service-cidr"
                )


def conflicts(config: MeshConfig, used: str) -> list[str]:
    """Our ranges in which a used one (CIDR) lies.

    A wider one, as the default route is, does no harm: ours are more specific.
    """
    network = ip_network(used, strict=False)
    ours = (config.pod_cidr4, config.pod_cidr6, config.service_cidr4, config.service_cidr6)
    return [
        str(cidr)
        for cidr in ours
        if cidr.version == network.version and network.subnet_of(cidr)  # type: ignore[arg-type]
    ]


CHECKS: tuple[Check, ...] = (check_files, check_tools, check_kernel, check_ranges)
