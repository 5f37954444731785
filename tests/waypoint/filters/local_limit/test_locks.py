"""Locks between real processes, of which one is killed."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Iterator
from subprocess import PIPE, Popen

import pytest

from waypoint.filters.local_limit.locks import SIZE, Locks

HOLDS = """
import ctypes, mmap, sys
from waypoint.filters.local_limit.locks import Locks
memory = mmap.mmap(int(sys.argv[1]), 4096)
locks = Locks(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 2, new=False)
assert locks.take(1)
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shared() -> Iterator[tuple[Locks, int]]:
    descriptor = os.memfd_create("locks")
    os.ftruncate(descriptor, 4096)
    memory = mmap.mmap(descriptor, 4096)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    locks = Locks(base, 2, new=True)
    yield locks, descriptor
    # Memory with a lock that is held mustn't go.
    for number in range(2):
        locks.give(number)
    os.close(descriptor)


def test_a_lock_is_one_s_at_a_time(shared: tuple[Locks, int]) -> None:
    locks, _ = shared
    assert locks.take(0)
    assert not locks.take(0)
    assert locks.take(1)
    locks.give(0)
    assert locks.take(0)
    assert SIZE * locks.count <= 4096


def test_who_is_killed_gives_its_lock_up(shared: tuple[Locks, int]) -> None:
    locks, descriptor = shared
    command = [sys.executable, "-c", HOLDS, str(descriptor)]
    with Popen(command, stdin=PIPE, stdout=PIPE, pass_fds=(descriptor,)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"taken\n"
        assert not locks.take(1)
        assert locks.take(0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert locks.take(1)
        assert locks.recovered == 1
        locks.give(1)
        assert locks.take(1)
        assert locks.recovered == 1
