"""What is said before anything is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bpf import bpffs, mounts, probe
from bpf.probe import MissingFeature
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import preflight
from deploy.standalone.runner.errors import PreflightError
from deploy.standalone.runner.preflight import conflicts, require, require_root
from tests.deploy.standalone.runner.worlds import make_config

CONFIG = make_config("flight", 170)


def test_this_machine_will_do(tmp_path: Path) -> None:
    require_root()
    require(CONFIG, [tmp_path])


def test_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreflightError, match="must run as root"):
        require_root()


def test_everything_that_is_missing_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = [MissingFeature("sk_lookup programs", "5.9", "use a newer kernel")]
    monkeypatch.setattr(probe, "missing_features", lambda _root: lacking)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr(preflight, "RESOLV_CONF", tmp_path / "none")
    with pytest.raises(PreflightError) as error:
        require(CONFIG, [tmp_path / "mesh.yaml"])
    lines = str(error.value).splitlines()
    assert lines[0] == f"{tmp_path}/mesh.yaml: no such file or directory"
    assert lines[1] == "nft is missing: apt-get install nftables"
    assert lines[2].startswith(f"{tmp_path}/none doesn't exist")
    assert lines[3] == "sk_lookup programs (Linux 5.9 has it): use a newer kernel"


def test_no_cgroup_v2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "current", list)
    with pytest.raises(PreflightError, match="cgroup v2 is not mounted"):
        require(CONFIG, [])


def test_no_bpffs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "filesystems").write_text("nodev\tproc\n")
    (tmp_path / "sys/net/ipv6").mkdir(parents=True)
    monkeypatch.setattr(preflight, "PROC", tmp_path)
    monkeypatch.setattr(bpffs, "holds", lambda _path: False)
    with pytest.raises(PreflightError, match="no BPF file system at /sys/fs/bpf"):
        require(CONFIG, [])


@pytest.mark.parametrize(
    ("used", "ours"),
    [
        ("10.244.0.0/16", ["10.244.0.0/16"]),
        ("10.244.7.3/32", ["10.244.0.0/16"]),
        ("fd00:10:96::5/128", ["fd00:10:96::/112"]),
        ("10.0.0.0/8", []),
        ("0.0.0.0/0", []),
        ("10.245.0.0/16", []),
        ("::/0", []),
    ],
)
def test_ranges_in_use(used: str, ours: list[str]) -> None:
    assert conflicts(MeshConfig(), used) == ours
