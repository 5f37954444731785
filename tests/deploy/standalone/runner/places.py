"""Network namespaces and cgroups of a test's own, gone at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute

from deploy.standalone.runner import cgroups, links, netns


@contextmanager
def own_netns(folder: Path) -> Iterator[str]:
    """A netns with lo up; its name."""
    name = f"runnertest{os.getpid()}"
    with netns.created(name, folder), IPRoute() as ip:
        links.up(ip, links.LOOPBACK)
    try:
        yield name
    finally:
        netns.delete(name, folder)


@contextmanager
def own_cgroup() -> Iterator[Path]:
    """An empty cgroup; nothing may run in it at the end."""
    path = cgroups.mounted() / f"runnertest{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        if path.is_dir():
            (path / "cgroup.kill").write_text("1")
        while cgroups.populated(path):
            pass
        cgroups.remove(path)
