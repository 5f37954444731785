"""What a standalone mesh is made of, as one value: names, places and addresses.

Everything that two meshes on one machine must not share is derived from the
mesh's name or from its address ranges.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

RUN_DIR = Path("/run/tandem")
NETNS_DIR = Path("/run/netns")
BPFFS = Path("/sys/fs/bpf")

ADS_PORT = 15012
READY_PORT = 15021

#: The subnet, counted in /24 and /64, that joins nodes, control plane and host.
FABRIC = 255
CONTROL = 253
HOST = 254
MAX_NODES = 250

POD_CIDR4 = IPv4Network("10.244.0.0/16")
POD_CIDR6 = IPv6Network("fd00:10:244::/48")
SERVICE_CIDR4 = IPv4Network("10.96.0.0/16")
SERVICE_CIDR6 = IPv6Network("fd00:10:96::/112")

MESH_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
#: Where hosts of ServiceEntries get addresses from, where they have none: Istio's own
#: (PILOT_IP_AUTOALLOCATE_IPV4_PREFIX and …IPV6_PREFIX).
ENTRY_CIDR4 = IPv4Network("240.240.0.0/16")
ENTRY_CIDR6 = IPv6Network("2001:2::/48")
#: Istio's; and what SPIFFE lets one be made of (SPIFFE ID, 2.1).
TRUST_DOMAIN = "cluster.local"
TRUST_DOMAIN_FORM = re.compile(r"[a-z0-9._-]{1,255}")
NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class ConfigError(ValueError):
    """A mesh can't be made this way; the message names the setting and the value."""


#: Where waypoints write a line for each request; off: nowhere.
ACCESS_LOGS = ("stdout", "off")


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """A standalone mesh. Raises ConfigError when its parts don't fit together.

    pod_cidr4 is a /16 and pod_cidr6 a /48: node i (from 1) has the i-th /24 and
    /64 of them for its pods, and the 255th is the fabric, where node i is host
    i, the control plane 253 and the machine itself 254.
    same_node_mtls: pods of one node talk by mutual TLS too, as those of two do.
    access_log: of waypoints, one of ACCESS_LOGS.
    """

    name: str = "tandem"
    nodes: tuple[str, ...] = ("node1",)
    pod_cidr4: IPv4Network = POD_CIDR4
    pod_cidr6: IPv6Network = POD_CIDR6
    service_cidr4: IPv4Network = SERVICE_CIDR4
    service_cidr6: IPv6Network = SERVICE_CIDR6
    cluster_id: str = "Kubernetes"
    cluster_domain: str = "cluster.local"
    trust_domain: str = TRUST_DOMAIN
    log_level: str = "info"
    same_node_mtls: bool = False
    access_log: str = ACCESS_LOGS[0]

    def __post_init__(self) -> None:
        if not MESH_NAME.fullmatch(self.name):
            raise ConfigError(
                f"mesh name {self.name!r}: use up to 30 lowercase letters, digits and "
                "dashes, a letter first and no dash last"
            )
        if not 1 <= len(self.nodes) <= MAX_NODES:
            raise ConfigError(f"{len(self.nodes)} nodes: a mesh has 1 to {MAX_NODES}")
        for node in self.nodes:
            if not NODE_NAME.fullmatch(node):
                raise ConfigError(
                    f"node name {node!r}: use up to 40 lowercase letters, digits and dashes"
                )
        if len(set(self.nodes)) != len(self.nodes):
            raise ConfigError(f"nodes {', '.join(self.nodes)}: each name may occur once")
        if not TRUST_DOMAIN_FORM.fullmatch(self.trust_domain):
            raise ConfigError(
                f"trust domain {self.trust_domain!r}: use lowercase letters, digits, dots, "
                "dashes and underscores"
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.pod_cidr4.prefixlen != 16:
            raise ConfigError(f"pod CIDR {self.pod_cidr4}: a /16 is needed, a /24 per node")
        if self.pod_cidr6.prefixlen != 48:
            raise ConfigError(f"pod CIDR {self.pod_cidr6}: a /48 is needed, a /64 per node")
        if self.service_cidr4.prefixlen > 24:
            raise ConfigError(f"service CIDR {self.service_cidr4}: a /24 or larger is needed")
        if self.service_cidr6.prefixlen > 112:
            raise ConfigError(f"service CIDR {self.service_cidr6}: a /112 or larger is needed")
        overlaps4 = self.pod_cidr4.overlaps(self.service_cidr4)
        if overlaps4 or self.pod_cidr6.overlaps(self.service_cidr6):
            raise ConfigError(
                f"pod CIDRs {self.pod_cidr4} and {self.pod_cidr6} overlap service CIDRs "
                f"{self.service_cidr4} and {self.service_cidr6}"
            )

    # ---- addresses

    def node_index(self, node: str) -> int:
        """A node's number, from 1."""
        return self.nodes.index(node) + 1

    def node_cidr4(self, node: str) -> IPv4Network:
        """The /24 of a node's pods."""
        return self.subnet4(self.node_index(node))

    def node_cidr6(self, node: str) -> IPv6Network:
        """The /64 of a node's pods."""
        return self.subnet6(self.node_index(node))

    def fabric4(self, host: int) -> IPv4Address:
        """An address of the fabric: a node's number, CONTROL or HOST."""
        return self.subnet4(FABRIC)[host]

    def fabric6(self, host: int) -> IPv6Address:
        """An address of the fabric: a node's number, CONTROL or HOST."""
        return self.subnet6(FABRIC)[host]

    def node_address4(self, node: str) -> IPv4Address:
        """Where a node is, on the fabric."""
        return self.fabric4(self.node_index(node))

    def node_address6(self, node: str) -> IPv6Address:
        """Where a node is, on the fabric."""
        return self.fabric6(self.node_index(node))

    @property
    def dns_address4(self) -> IPv4Address:
        """The cluster DNS, on every node."""
        return self.service_cidr4[10]

    @property
    def dns_address6(self) -> IPv6Address:
        """The cluster DNS, on every node."""
        return self.service_cidr6[10]

    @property
    def ads_address(self) -> str:
        """``address:port`` of the control plane's ADS and CA, from a node."""
        return f"{self.fabric4(CONTROL)}:{ADS_PORT}"

    def subnet4(self, index: int) -> IPv4Network:
        """The index-th /24 of the pod CIDR."""
        return IPv4Network((int(self.pod_cidr4[0]) + (index << 8), 24))

    def subnet6(self, index: int) -> IPv6Network:
        """The index-th /64 of the pod CIDR."""
        return IPv6Network((int(self.pod_cidr6[0]) + (index << 64), 64))

    # ---- network namespaces and interfaces

    @property
    def fabric_netns(self) -> str:
        """The netns of the bridge and the control process."""
        return self.name

    def node_netns(self, node: str) -> str:
        """A node's netns."""
        return f"{self.name}-{node}"

    def pod_netns(self, node: str, namespace: str, pod: str) -> str:
        """A pod's netns."""
        return f"{self.name}-{node}-{pod_digest(namespace, pod)}"

    def owns_netns(self, netns: str) -> bool:
        """Whether a netns could be this mesh's by its name, whatever its nodes are."""
        return netns == self.name or netns.startswith(f"{self.name}-")

    @property
    def host_interface(self) -> str:
        """The machine's own interface to the fabric; 15 characters at most."""
        name = f"td-{self.name}"
        return name if len(name) <= 15 else f"td-{digest(self.name)}"

    # ---- places

    @property
    def state_dir(self) -> Path:
        """Everything of this mesh that is a file."""
        return RUN_DIR / self.name

    @property
    def netns_record(self) -> Path:
        """A folder with an empty file for each netns of this mesh, by its name.

        Names alone don't tell: mesh "a" may have a node "b", beside a mesh "a-b".
        """
        return self.state_dir / "netns"

    @property
    def lock_file(self) -> Path:
        """Locked by the runner while it lives; holds its process id."""
        return RUN_DIR / f"{self.name}.lock"

    @property
    def control_socket(self) -> Path:
        """The control API."""
        return self.state_dir / "control.sock"

    @property
    def control_dir(self) -> Path:
        """The control process's own state."""
        return self.state_dir / "control"

    def zds_socket(self, node: str) -> Path:
        """Where the runner serves ZDS to a node's daemon."""
        return self.state_dir / "nodes" / node / "ztunnel.sock"

    def members_socket(self, node: str) -> Path:
        """Where a node's daemon takes cgroups into the mesh."""
        return self.state_dir / "nodes" / node / "members.sock"

    @property
    def roots_file(self) -> Path:
        """The trusted roots, written by the control plane."""
        return self.state_dir / "roots.pem"

    def agent_token(self, node: str) -> Path:
        """The token of a node's agent."""
        return self.state_dir / "nodes" / node / "token"

    def pod_token(self, namespace: str, pod: str) -> Path:
        """The token of a pod that asks for one."""
        return self.pod_dir(namespace, pod) / "token"

    def process_log(self, process: str) -> Path:
        """The log of ``control``, or of ``daemon-<node>``."""
        return self.state_dir / "logs" / f"{process}.log"

    def pod_dir(self, namespace: str, pod: str) -> Path:
        """A pod's files: pod.json, log, resolv.conf, hosts."""
        return self.state_dir / "pods" / namespace / pod

    def pin_dir(self, node: str) -> Path:
        """A node's maps, programs and links in bpffs."""
        return self.pins / node

    @property
    def pins(self) -> Path:
        """The mesh's folder in bpffs."""
        return BPFFS / f"tandem-{self.name}"

    def cgroup(self, mount: Path) -> Path:
        """The mesh's cgroup, below the place where cgroup v2 is mounted."""
        return mount / f"tandem-{self.name}"

    def node_cgroup(self, mount: Path, node: str) -> Path:
        """A node's root, where the hooks attach."""
        return self.cgroup(mount) / node

    def probe_cgroup(self, mount: Path, node: str) -> Path:
        """Where a node's probes are made, outside its root; no node's name has a _."""
        return self.cgroup(mount) / f"{node}_probes"

    def pod_cgroup(self, mount: Path, node: str, namespace: str, pod: str) -> Path:
        """A pod's cgroup; each container has a child of it."""
        return self.node_cgroup(mount, node) / "pods" / f"{namespace}_{pod}"


def node_names(count: int) -> tuple[str, ...]:
    """The names of so many nodes."""
    return tuple(f"node{number}" for number in range(1, count + 1))


def digest(text: str) -> str:
    """Eight hexadecimal digits that stand for a longer name."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def pod_digest(namespace: str, pod: str) -> str:
    """Eight hexadecimal digits that stand for a pod, in netns and interface names."""
    return digest(f"{namespace}/{pod}")
