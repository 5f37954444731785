"""The node agent's settings; nothing else reads the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError

LOG_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """One node agent's settings.

    xds_address: ``host:port`` of the control plane; zds_path: the unix socket
    that pods are enrolled over; pin_dir: where programs, maps and links are
    pinned (a directory of a bpf file system); cgroup_root: the cgroup v2
    directory below which all pods of the node run; network: the Istio network
    whose addresses are reachable from here.
    """

    node_name: str
    instance_ip: str
    pod_name: str
    pod_namespace: str
    xds_address: str
    zds_path: Path
    pin_dir: Path
    cgroup_root: Path
    cluster_id: str = "Kubernetes"
    network: str = ""
    log_level: str = "info"


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    faults: list[str] = []

    def required(name: str, what: str) -> str:
        value = environment.get(name, "")
        if not value:
            faults.append(f"{name} is not set: it is {what}")
        return value

    def absolute(name: str, what: str) -> Path:
        value = required(name, what)
        if value and not value.startswith("/"):
            faults.append(f"{name}={value!r} is no absolute path: it is {what}")
        return Path(value)

    config = Config(
        node_name=required("NODE_NAME", "the name of the node this agent serves"),
        instance_ip=required("INSTANCE_IP", "this agent's own IP address"),
        pod_name=required("POD_NAME", "this agent's name"),
        pod_namespace=required("POD_NAMESPACE", "this agent's namespace"),
        xds_address=required("XDS_ADDRESS", "host:port of the control plane"),
        zds_path=absolute("ZDS_PATH", "the unix socket that pods are enrolled over"),
        pin_dir=absolute("PIN_DIR", "a directory under /sys/fs/bpf"),
        cgroup_root=absolute("CGROUP_ROOT", "the cgroup v2 directory above all pods"),
        cluster_id=environment.get("CLUSTER_ID") or "Kubernetes",
        network=environment.get("NETWORK", ""),
        log_level=(environment.get("LOG_LEVEL") or "info").lower(),
    )
    faults.extend(faults_of(config))
    if faults:
        raise ConfigError("; ".join(faults))
    return config


def faults_of(config: Config) -> list[str]:
    """What is wrong with values that are there."""
    faults = []
    if config.instance_ip:
        try:
            ipaddress.ip_address(config.instance_ip)
        except ValueError:
            faults.append(f"INSTANCE_IP={config.instance_ip!r} is no IP address")
    if config.xds_address:
        host, _, port = config.xds_address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            faults.append(
                f"XDS_ADDRESS={config.xds_address!r} is no host:port "
                "(an IPv6 address goes into brackets)"
            )
    if "." in str(config.pin_dir).strip("."):
        faults.append(
            f"PIN_DIR={str(config.pin_dir)!r} has a dot: the bpf file system allows none"
        )
    if config.log_level not in LOG_LEVELS:
        faults.append(f"LOG_LEVEL={config.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    return faults
