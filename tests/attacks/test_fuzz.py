"""Broken bytes from clients and from endpoints, in both protocols."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal

import pytest

from tests.attacks.fuzz import Fuzzed
from tests.waypoint.mesh import running, service
from ztunnel_compat.model import AppProtocol

#: Seconds that so many inputs may take before it is a hang.
BATCH, PATIENCE = 500, 120
#: Objects that may be there more at the end than after the first batches.
MORE = 20_000


async def fuzz(seed: int, inputs: int) -> None:
    """Feed so many inputs; the seed of a batch that fails is told."""
    async with running() as mesh:
        for name, speaks in (("one", AppProtocol.HTTP11), ("two", AppProtocol.HTTP2)):
            mesh.push(service(name, speaks=speaks))
            mesh.pod(f"{name}-1", name, 9)
        fuzzed = Fuzzed(mesh, random.Random())
        objects = 0
        for batch in range(inputs // BATCH):
            signal.alarm(PATIENCE)
            for number in range(BATCH):
                fuzzed.rng.seed(f"{seed}-{batch}-{number}")
                try:
                    await fuzzed.one()
                except Exception as error:
                    error.add_note(f"input {seed}-{batch}-{number}")
                    raise
            signal.alarm(0)
            mesh.log.clear()
            if batch in {4, inputs // BATCH - 1}:
                await asyncio.sleep(0)
                gc.collect()
                found = len(gc.get_objects())
                assert not objects or found <= objects + MORE, f"{found} after {objects}"
                objects = found


async def test_broken_bytes_break_nothing() -> None:
    await fuzz(1, 1000)


@pytest.mark.soak
async def test_half_a_million_broken_inputs() -> None:
    await fuzz(int(os.environ.get("FUZZ_SEED", "2")), 500_000)
