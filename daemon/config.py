"""The node agent's settings; nothing else reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from bpf.errors import LoadError
from bpf.knobs import Knobs
from ztunnel_compat.runtime.settings import ProxySettings, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One node agent's settings.

    zds_path: the unix socket that pods are enrolled over; pin_dir: where programs, maps and
    links are pinned (a directory of a bpf file system); cgroup_root: the cgroup v2
    directory below which all pods of the node run; network: the Istio network whose
    addresses are reachable from here; trust_domain: of pods that the control plane hasn't
    told of yet, and of clients that may come in by HBONE; trust_domain_aliases: of more
    such clients; ca_address, ca_root_ca: ``host:port`` of the CA, and the PEM file of the
    roots that it is verified with; same_node_mtls: whether connections between pods of this
    node are tunnelled, too; dns_upstream: the cluster DNS's addresses, for which this node
    answers pods (none: those of /etc/resolv.conf); sizes: of the kernel's maps;
    access_log_rate: lines a second for each kind of connection (ended, failed, denied), 0
    for none; probe_cgroup: the cgroup v2 directory of what makes health probes, which no
    policy is asked about; members_path: the unix socket that cgroups are enrolled over;
    drain_seconds: how long tunnels may go on after SIGTERM.
    """

    proxy: ProxySettings
    zds_path: Path
    pin_dir: Path
    cgroup_root: Path
    network: str = ""
    cluster_domain: str = "cluster.local"
    dns_upstream: tuple[str, ...] = ()
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    ca_address: str = ""
    ca_root_ca: Path = Path()
    same_node_mtls: bool = False
    sizes: Knobs = field(default_factory=Knobs)
    access_log_rate: int = 1000
    probe_cgroup: Path | None = None
    members_path: Path | None = None
    drain_seconds: int = 5

    @property
    def handover_path(self) -> Path:
        """Where a node agent that ends gives its listening sockets to the next one."""
        return self.zds_path.with_name("handover.sock")


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    reader = Reader(environment)
    proxy = reader.proxy()
    authority = reader.authority(proxy)
    config = Config(
        proxy=proxy,
        zds_path=reader.path("ZDS_PATH", "the unix socket that pods are enrolled over"),
        pin_dir=reader.path("PIN_DIR", "a directory under /sys/fs/bpf"),
        cgroup_root=reader.path("CGROUP_ROOT", "the cgroup v2 directory above all pods"),
        network=reader.optional("NETWORK", ""),
        cluster_domain=reader.optional("CLUSTER_DOMAIN", "cluster.local"),
        dns_upstream=reader.addresses("DNS_UPSTREAM"),
        trust_domain=reader.optional("TRUST_DOMAIN", "cluster.local"),
        trust_domain_aliases=reader.words("TRUST_DOMAIN_ALIASES"),
        ca_address=authority.address,
        ca_root_ca=authority.roots,
        same_node_mtls=reader.choice("SAME_NODE_MTLS", "false", ("true", "false")) == "true",
        sizes=map_sizes(reader),
        access_log_rate=reader.number("ACCESS_LOG_RATE", 1000, 1_000_000),
        probe_cgroup=reader.optional_path(
            "PROBE_CGROUP", "the cgroup v2 directory of what makes probes"
        ),
        members_path=reader.optional_path(
            "MEMBERS_PATH", "the unix socket that cgroups are enrolled over"
        ),
        # As ztunnel: the rest is for what comes before and after.
        drain_seconds=max(0, reader.number("TERMINATION_GRACE_PERIOD_SECONDS", 10, 86400) - 5),
    )
    if "." in str(config.pin_dir).strip("."):
        reader.faults.append(
            f"PIN_DIR={str(config.pin_dir)!r} has a dot: the bpf file system allows none"
        )
    reader.check()
    return config


def map_sizes(reader: Reader) -> Knobs:
    """Sizes that MAP_SIZES gives (``endpoints=1000000,flows=500000``), defaults else."""
    known = {size.name for size in fields(Knobs)}
    sizes: dict[str, int] = {}
    for part in reader.optional("MAP_SIZES", "").split(","):
        name, separator, number = (word.strip() for word in part.partition("="))
        if not name and not separator:
            continue
        if name not in known:
            reader.faults.append(
                f"MAP_SIZES: {name!r} is no map: known are {', '.join(sorted(known))}"
            )
        elif not number.isdecimal():
            reader.faults.append(f"MAP_SIZES: {name}={number!r} is no number")
        else:
            sizes[name] = int(number)
    try:
        return Knobs(**sizes)
    except LoadError as error:
        reader.faults.append(f"MAP_SIZES: {error}")
        return Knobs()
