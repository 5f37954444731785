"""One turn serves all that is ready, and ends once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from daemon.tunnel.poller import END, IN, LOOK, OUT, SLEPT, STEADY, Poller
from tests.daemon.tunnel.rig import until

Pair = tuple[socket.socket, socket.socket]


class Noted:
    """Notes events, and does what it is told to."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.events: list[int] = []
        self.act = act

    def ready(self, events: int) -> None:
        self.events.append(events)
        self.act()


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = Poller()
    yield made
    made.close()
    made.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(2)]
    yield made
    for pair in made:
        for one in pair:
            one.close()


async def test_what_is_ready_is_served_before_the_end_of_the_turn(
    poller: Poller, pairs: list[Pair]
) -> None:
    said: list[str] = []

    def end() -> None:
        said.append("end")

    def serve(ours: socket.socket) -> Callable[[], None]:
        def act() -> None:
            ours.recv(10)
            if not said:
                poller.at_end(end)
            said.append("served")

        return act

    for ours, theirs in pairs:
        theirs.send(b"x")
        poller.watch(ours.fileno(), IN, Noted(serve(ours)))
    await until(lambda: "end" in said)
    assert said == ["served", "served", "end"]


async def test_who_left_in_the_same_turn_is_not_served(
    poller: Poller, pairs: list[Pair]
) -> None:
    (first, _), (second, _) = pairs
    watchers: list[Noted] = []

    def leave() -> None:
        poller.leave(first.fileno())
        poller.leave(second.fileno())

    for ours, theirs in pairs:
        theirs.send(b"x")
        watchers.append(Noted(leave))
        poller.watch(ours.fileno(), IN, watchers[-1])
    await until(lambda: any(one.events for one in watchers))
    await asyncio.sleep(0)
    assert sorted(len(one.events) for one in watchers) == [0, 1]
    poller.leave(first.fileno())


async def test_an_end_tells_that_it_is_one(poller: Poller, pairs: list[Pair]) -> None:
    (ours, theirs), _ = pairs
    noted = Noted(lambda: poller.leave(ours.fileno()))
    theirs.send(b"last words")
    theirs.shutdown(socket.SHUT_WR)
    poller.watch(ours.fileno(), IN, noted)
    await until(lambda: noted.events)
    assert noted.events[0] & END
    assert ours.recv(100) == b"last words"


async def test_other_events_can_be_asked_for(poller: Poller, pairs: list[Pair]) -> None:
    (ours, _), _ = pairs
    noted = Noted(lambda: poller.change(ours.fileno(), IN))
    poller.watch(ours.fileno(), IN, noted)
    poller.change(ours.fileno(), OUT)
    await until(lambda: noted.events)
    assert noted.events == [OUT]


async def test_an_end_asked_for_at_an_end_has_the_next_turn(poller: Poller) -> None:
    said: list[int] = []

    def end() -> None:
        said.append(len(said))
        if len(said) < 3:
            poller.at_end(end)

    poller.at_end(end)
    assert said == []
    await asyncio.sleep(0)
    assert said == [0]
    await until(lambda: len(said) == 3)


async def test_a_steady_row_is_looked_after_until_it_ends(
    poller: Poller, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0
    monkeypatch.setattr("time.monotonic_ns", lambda: now)
    (ours, theirs), _ = pairs
    noted = Noted(lambda: ours.recv(1))
    poller.watch(ours.fileno(), IN, noted)

    async def turn(after: int) -> bool:
        nonlocal now
        now += after
        seen = len(noted.events)
        theirs.send(b"x")
        await until(lambda: len(noted.events) > seen)
        return poller.looking

    assert not await turn(SLEPT)
    assert [await turn(SLEPT - 1) for _ in range(STEADY)] == [False] * (STEADY - 1) + [True]
    for _ in range(10):  # as long as the next may be on its way
        await asyncio.sleep(0)
    assert poller.looking
    now += LOOK
    await until(lambda: not poller.looking)
    # It was in vain: the next takes twice as many, until it has paid often enough.
    looks = [await turn(1) for _ in range(2 * STEADY)]
    assert looks == [False] * (2 * STEADY - 1) + [True]
    assert all([await turn(1) for _ in range(STEADY)])
    now += LOOK
    await until(lambda: not poller.looking)
    assert poller.steady == 2 * STEADY
    assert not await turn(SLEPT)
    assert not any([await turn(SLEPT) for _ in range(3 * STEADY)])
