"""One engine for the tests of the hooks; each test gets it with empty maps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpf.maps import Maps
from tests.bpf.engine import SMALL, Engine, engine
from tests.support.netns import Netns, lan


@pytest.fixture(scope="session")
def loaded() -> Iterator[Engine]:
    """An engine for the whole run."""
    with engine("hooks") as made:
        yield made


@pytest.fixture(scope="session")
def network() -> Iterator[list[Netns]]:
    """Three namespaces on one wire: client, server, waypoint."""
    with lan(3) as made:
        yield made


@pytest.fixture
def mesh(loaded: Engine) -> Iterator[Engine]:
    """The engine, knowing nothing."""
    loaded.clear()
    yield loaded
    loaded.clear()


@pytest.fixture(params=["pinned", "memory"])
def maps(request: pytest.FixtureRequest) -> Maps:
    """Empty maps: the engine's, then ones in memory, which must behave the same."""
    if request.param == "memory":
        return Maps.memory(SMALL)
    mesh: Engine = request.getfixturevalue("mesh")
    return mesh.maps


@pytest.fixture
def client(network: list[Netns]) -> Netns:
    """A namespace to connect from."""
    return network[0]


@pytest.fixture
def server(network: list[Netns]) -> Netns:
    """A namespace to connect to."""
    return network[1]


@pytest.fixture
def waypoint(network: list[Netns]) -> Netns:
    """A namespace that stands for a waypoint."""
    return network[2]
