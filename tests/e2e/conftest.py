"""Meshes for the end-to-end tests: each module has its own, made as a user would."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import MeshHandle

_octets = itertools.count(100, 2)


@pytest.fixture(scope="module")
def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MeshHandle]:
    """A running mesh of the module's MANIFESTS, NODES and OPTIONS; nothing may stay behind."""
    name = "e2e-" + request.module.__name__.rpartition("test_")[2].replace("_", "-")
    folder = tmp_path_factory.mktemp(name) / "mesh"
    folder.mkdir()
    nodes = getattr(request.module, "NODES", 1)
    options = getattr(request.module, "OPTIONS", ())
    handle = MeshHandle(name, folder, next(_octets), nodes, options)
    for file, text in request.module.MANIFESTS.items():
        handle.write(file, text)
    with handle.up():
        yield handle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for a mesh's files."""
    made = tmp_path / "mesh"
    made.mkdir()
    return made
