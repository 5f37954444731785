"""The BPF file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpf import bpffs
from bpf.errors import LoadError
from tests.bpf.engine import place

MOUNTS = """
import subprocess, sys
from pathlib import Path
from bpf import bpffs
while subprocess.run(["umount", "/sys/fs/bpf"], stderr=subprocess.DEVNULL).returncode == 0:
    pass
assert not bpffs.holds(bpffs.MOUNT_POINT)
bpffs.ensure(bpffs.MOUNT_POINT / "tandem-test-mount" / "node")
assert bpffs.holds(bpffs.MOUNT_POINT)
bpffs.remove(bpffs.MOUNT_POINT / "tandem-test-mount")
print("mounted")
"""


def test_it_is_mounted_if_absent() -> None:
    """In a mount namespace of its own: nobody else's pins are touched."""
    command = ["unshare", "--mount", sys.executable, "-c", MOUNTS]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["a.b", 'a"b', "a b"])
def test_names_that_cannot_be_pinned_are_refused(name: str) -> None:
    with pytest.raises(LoadError, match="letters, digits"):
        bpffs.ensure(bpffs.MOUNT_POINT / name)


def test_another_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="not in a bpffs"):
        bpffs.ensure(tmp_path)


def test_removal_is_thorough_and_may_be_repeated() -> None:
    with place("remove") as where:
        bpffs.ensure(where.pin_dir)
        (where.pin_dir / "a" / "b").mkdir(parents=True)
        bpffs.remove(where.pin_dir)
        assert not where.pin_dir.exists()
        bpffs.remove(where.pin_dir)
