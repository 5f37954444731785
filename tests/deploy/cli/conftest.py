"""Fake meshes, and a network namespace."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_mesh import FakeMesh, fake_mesh


@pytest.fixture
def mesh() -> Iterator[FakeMesh]:
    with fake_mesh() as made:
        yield made


@pytest.fixture
def netns() -> Iterator[Path]:
    """A network namespace with loopback; its path."""
    name = f"t{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
