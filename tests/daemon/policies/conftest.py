"""An engine for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.engine import Engine, engine


@pytest.fixture(scope="session")
def kernel_engine() -> Iterator[Engine]:
    with engine("policies") as made:
        yield made


@pytest.fixture
def mesh(kernel_engine: Engine) -> Iterator[Engine]:
    """The engine, knowing nothing."""
    kernel_engine.clear()
    yield kernel_engine
    kernel_engine.clear()
