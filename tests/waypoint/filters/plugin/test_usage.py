from __future__ import annotations

import os
import subprocess

import pytest

from waypoint.filters.plugin.usage import Usage, read_usage, time_left


@pytest.mark.parametrize(
    ("wall", "now", "left"),
    [
        # Asleep: what passes counts, but for what it waited for a processor.
        (0.02, Usage(), 0.03),
        (0.06, Usage(), -0.01),
        (0.06, Usage(waited=0.02), 0.01),
        # Runnable: what it ran counts.
        (0.06, Usage(ran=0.01, runnable=True), 0.04),
        (0.06, Usage(ran=0.06, runnable=True), -0.01),
        # There is an end to it.
        (0.6, Usage(ran=0.01, runnable=True), -0.1),
        (0.6, Usage(waited=0.6), -0.1),
    ],
)
def test_what_a_call_has_left_of_50_ms(wall: float, now: Usage, left: float) -> None:
    base = Usage(ran=7.0, waited=3.0)
    later = Usage(now.ran + 7.0, now.waited + 3.0, now.runnable)
    assert time_left(0.05, wall, base, later) == pytest.approx(left)


def test_the_kernel_tells() -> None:
    usage = read_usage(os.getpid())
    assert usage.ran > 0
    assert usage.runnable
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_usage(process.pid) == Usage()
