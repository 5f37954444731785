"""What is missing, as found and as told."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from bpf import probe
from bpf.probe import FEATURES, PERMISSION, judge, missing_features
from tests.bpf.engine import cgroup_root

FINE = {feature.name: 0 for feature in FEATURES}


def test_nothing_is_missing_here() -> None:
    assert missing_features() == []
    assert missing_features(cgroup_root()) == []


def test_a_missing_feature_is_named_with_its_kernel() -> None:
    (missing,) = judge(FINE | {"sk_lookup programs": errno.EINVAL})
    assert missing.since_kernel == "5.9"
    assert str(missing).startswith("sk_lookup programs (Linux 5.9 has it): ")


def test_a_missing_package_is_named_without_one() -> None:
    (missing,) = judge(FINE | {"BCC": errno.ENOENT})
    assert str(missing) == "BCC: apt-get install python3-bpfcc"


def test_without_permission_only_that_is_said_of_what_needs_it() -> None:
    denied = dict.fromkeys(FINE, errno.EPERM) | {"BCC": errno.ENOENT}
    assert [missing.name for missing in judge(denied)] == [PERMISSION, "BCC"]


def test_features_are_told_in_order() -> None:
    names = [missing.name for missing in judge(dict.fromkeys(FINE, errno.EINVAL))]
    assert names == [feature.name for feature in FEATURES]


def test_an_unprivileged_process_lacks_permission() -> None:
    code = "from bpf.probe import missing_features; print(*missing_features(), sep='; ')"
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "bpf(2) permission: run as root"


def test_a_directory_that_is_no_cgroup_is_told(tmp_path: Path) -> None:
    assert [missing.name for missing in missing_features(tmp_path)] == ["cgroup v2"]


def test_a_python_without_bcc_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for python in ("/bin/false", "/nowhere/python3"):
        monkeypatch.setattr(probe, "PYTHON", python)
        assert [missing.name for missing in missing_features()] == ["BCC"]
