"""mountinfo as values."""

from __future__ import annotations

from pathlib import Path

from bpf.mounts import Mount, current, kind_at, parse

TEXT = """\
23 1 0:2 / / rw,relatime shared:1 - overlay overlay rw
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 23 0:39 /sub /mnt/a\\040b rw master:3 shared:4 - bpf none rw,mode=700
43 23 0:40 / /mnt rw - tmpfs tmpfs rw
44 23 0:41 / /mnt rw - ext4 /dev/x rw
"""


def test_points_and_kinds() -> None:
    assert parse(TEXT) == [
        Mount(Path("/"), "overlay"),
        Mount(Path("/sys/fs/cgroup/unified"), "cgroup2"),
        Mount(Path("/mnt/a b"), "bpf"),
        Mount(Path("/mnt"), "tmpfs"),
        Mount(Path("/mnt"), "ext4"),
    ]


def test_the_innermost_and_latest_mount_counts() -> None:
    mounts = parse(TEXT)
    assert kind_at(Path("/sys/fs/cgroup/unified/x/y"), mounts) == "cgroup2"
    assert kind_at(Path("/sys/fs/cgroup/unifiedly"), mounts) == "overlay"
    assert kind_at(Path("/mnt/a b/c"), mounts) == "bpf"
    assert kind_at(Path("/mnt"), mounts) == "ext4"


def test_this_machine() -> None:
    assert kind_at(Path("/proc/self"), current()) == "proc"
