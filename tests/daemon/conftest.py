"""A node of a test's own: a cgroup and a pin directory with the real programs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import mounts
from bpf.knobs import Knobs
from bpf.loader import load, unload
from tests.daemon.process import NodePlaces


@pytest.fixture
def places() -> Iterator[NodePlaces]:
    """Nothing loaded yet."""
    name = f"tandem-test-daemon-{os.getpid()}"
    cgroups = next(m.point for m in mounts.current() if m.kind == "cgroup2")
    cgroup = cgroups / name
    cgroup.mkdir()
    pin_dir = Path("/sys/fs/bpf") / name / "n1"
    try:
        yield NodePlaces(pin_dir, cgroup)
    finally:
        unload(pin_dir)
        with contextlib.suppress(OSError):
            pin_dir.parent.rmdir()
        for path in sorted(cgroup.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        cgroup.rmdir()


@pytest.fixture
def loaded(places: NodePlaces) -> NodePlaces:
    """With programs and maps."""
    load(places.pin_dir, places.cgroup, Knobs())
    return places
