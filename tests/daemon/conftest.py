"""A node of a test's own: a cgroup and a pin directory with the real programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpf.knobs import Knobs
from bpf.loader import load
from tests.daemon.process import NodePlaces, node_places


@pytest.fixture
def places() -> Iterator[NodePlaces]:
    """Nothing loaded yet."""
    with node_places() as made:
        yield made


@pytest.fixture
def loaded(places: NodePlaces) -> NodePlaces:
    """With programs and maps."""
    load(places.pin_dir, places.cgroup, Knobs())
    return places
