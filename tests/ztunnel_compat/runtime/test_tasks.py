from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest

from ztunnel_compat.runtime.tasks import Tasks, until_signal


async def for_ever():
    await asyncio.Event().wait()


async def fail(error):
    raise error


async def test_a_failure_is_logged_and_raised(caplog):
    async with Tasks() as tasks:
        tasks.spawn(for_ever(), "quiet")
        tasks.spawn(fail(OSError("disk gone")), "writer")
        with pytest.raises(OSError, match="disk gone"):
            await tasks.wait()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.getMessage() == "writer failed: disk gone"
    assert record.exc_info


async def test_a_failure_before_anyone_waits_is_not_lost():
    async with Tasks() as tasks:
        task = tasks.spawn(fail(OSError("early")), "early")
        await asyncio.wait([task])
        with pytest.raises(OSError, match="early"):
            await tasks.wait()


async def test_the_first_failure_counts():
    async with Tasks() as tasks:
        tasks.spawn(fail(OSError("first")), "first")
        tasks.spawn(fail(OSError("second")), "second")
        with pytest.raises(OSError, match="first"):
            await tasks.wait()


async def test_waiting_ends_with_what_is_waited_for():
    async with Tasks() as tasks:
        tasks.spawn(for_ever(), "quiet")
        await tasks.wait(asyncio.sleep(0))
        with pytest.raises(KeyError):
            await tasks.wait(fail(KeyError("until")))


async def test_close_cancels_and_waits():
    ended = []

    async def tidy():
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    tasks = Tasks()
    task = tasks.spawn(tidy(), "tidy")
    await asyncio.sleep(0)
    await tasks.close()
    assert ended == [True]
    assert task.cancelled()
    assert not tasks.running
    assert tasks.failure is None


async def test_what_ended_is_forgotten_and_its_result_is_had():
    async with Tasks() as tasks:
        task = tasks.spawn(asyncio.sleep(0, "done"), "short")
        assert await task == "done"
        assert task.get_name() == "short"
        await asyncio.sleep(0)
        assert not tasks.running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_wait_and_then_means_what_it_did(number, caplog):
    before = signal.getsignal(number)
    async with Tasks() as tasks:
        waiting = tasks.spawn(until_signal(), "signals")
        await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert await waiting is number
    assert not caplog.records
    if number == signal.SIGINT:
        assert signal.getsignal(number) is signal.default_int_handler
    else:
        assert signal.getsignal(number) == before
