"""Events: who gets one, and how many."""

from __future__ import annotations

import pytest

from bpf.layout import Counter, Event, EventClass, EventKind
from bpf.limits import WINDOW
from bpf.sources import HERE
from tests.bpf.engine import SERVER, Engine
from tests.support.netns import Netns


def fail(mesh: Engine, client: Netns, server: Netns, times: int) -> None:
    mesh.enroll(client)
    mesh.workload(server.v4, SERVER)
    for _ in range(times):
        with client.open_socket() as s, pytest.raises(ConnectionRefusedError):
            s.connect((server.v4, 8080))


def test_without_a_reader_there_are_none(mesh: Engine, client: Netns, server: Netns) -> None:
    before = mesh.maps.limits.suppressed(EventClass.FAILED)
    with mesh.counts() as counts:
        fail(mesh, client, server, 3)
    assert mesh.maps.events.read(10) == []
    assert Counter.EVENT_LOST not in counts
    assert mesh.maps.limits.suppressed(EventClass.FAILED) - before == 3


def test_a_window_has_no_more_than_its_limit(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Made or suppressed, each is one or the other."""
    before = mesh.maps.limits.suppressed(EventClass.FAILED)
    mesh.maps.limits.allow(EventClass.FAILED, 2)
    try:
        fail(mesh, client, server, 200)
    finally:
        mesh.maps.limits.allow(EventClass.FAILED, 0)
    made = [Event.unpack(record) for record in mesh.maps.events.read(1000)]
    suppressed = mesh.maps.limits.suppressed(EventClass.FAILED) - before
    assert len(made) + suppressed == 200
    assert suppressed > 0
    assert {event.kind for event in made} == {EventKind.FAILED}
    # The clock of windows is a coarse one: a tick may lie on either side.
    windows: dict[int, int] = {}
    for event in made:
        windows[event.ended // WINDOW] = windows.get(event.ended // WINDOW, 0) + 1
    assert len(made) <= 4 * (len(windows) + 1)


def test_classes_have_limits_of_their_own(mesh: Engine, client: Netns, server: Netns) -> None:
    mesh.maps.limits.allow(EventClass.CLOSED, 100)
    try:
        fail(mesh, client, server, 3)
        assert mesh.maps.events.read(10) == []
    finally:
        mesh.maps.limits.allow(EventClass.CLOSED, 0)


def test_the_window_is_the_programs() -> None:
    assert (
        f"EVENT_WINDOW_SHIFT {WINDOW.bit_length() - 1}"
        in (HERE / "include" / "events.h").read_text()
    )
