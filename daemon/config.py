"""The node agent's settings; nothing else reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ztunnel_compat.runtime.settings import ProxySettings, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One node agent's settings.

    zds_path: the unix socket that pods are enrolled over; pin_dir: where programs,
    maps and links are pinned (a directory of a bpf file system); cgroup_root: the
    cgroup v2 directory below which all pods of the node run; network: the Istio
    network whose addresses are reachable from here.
    """

    proxy: ProxySettings
    zds_path: Path
    pin_dir: Path
    cgroup_root: Path
    network: str = ""


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    reader = Reader(environment)
    config = Config(
        proxy=reader.proxy(),
        zds_path=reader.path("ZDS_PATH", "the unix socket that pods are enrolled over"),
        pin_dir=reader.path("PIN_DIR", "a directory under /sys/fs/bpf"),
        cgroup_root=reader.path("CGROUP_ROOT", "the cgroup v2 directory above all pods"),
        network=reader.optional("NETWORK", ""),
    )
    if "." in str(config.pin_dir).strip("."):
        reader.faults.append(
            f"PIN_DIR={str(config.pin_dir)!r} has a dot: the bpf file system allows none"
        )
    reader.check()
    return config
