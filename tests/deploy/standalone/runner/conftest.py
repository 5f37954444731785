"""Places of a test's own; made outside of the event loop, as pyroute2 needs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.standalone.runner.places import own_cgroup, own_netns


@pytest.fixture
def netns_name(tmp_path: Path) -> Iterator[str]:
    with own_netns(tmp_path / "netns") as name:
        yield name


@pytest.fixture
def cgroup() -> Iterator[Path]:
    with own_cgroup() as path:
        yield path
