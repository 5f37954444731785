"""The loader: fresh, adopting, swapping, rebuilding, cut short."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpf import kernel, loader, sources
from bpf.build import Build
from bpf.errors import KernelError, LinkError, LoadError
from bpf.layout import Counter, Pod
from bpf.links import Targets, attached_pods
from bpf.loader import Action, Pinned, Stage, decide, load, stage, unload
from bpf.maps import Maps
from bpf.sources import FLOW_MAPS, MAPS, PROGRAMMED_MAPS, PROGRAMS
from tests.bpf.engine import SMALL, Engine, Place, eventually, peer, place
from tests.bpf.loads import (
    CGROUP_PROGRAMS,
    LARGER,
    PINS,
    VIP,
    answered,
    fill,
    linked_programs,
    mesh_flow,
    redirects,
    whole,
)
from tests.support.netns import Netns

WANTED = Build(programs="p", maps=dict.fromkeys(MAPS, "m"))
OTHERS = replace(WANTED, programs="q")
ALL_MAPS = frozenset(MAPS)
PROGRAMMED = frozenset(PROGRAMMED_MAPS)
ALL_PROGRAMS = frozenset(program.name for program in PROGRAMS)


def but(*names: str) -> Build:
    """What is wanted, with other layouts of some maps."""
    return replace(WANTED, maps={**WANTED.maps, **dict.fromkeys(names, "n")})


@pytest.fixture
def where() -> Iterator[Place]:
    with place("loader") as made, made.joined():
        yield made


def outcome(loaded: Stage) -> Action:
    assert not loaded.waiting
    return loaded.action


FRESH, ADOPTED, SWAPPED = Action.REBUILD, Action.ADOPT, Action.SWAP


def another_program(monkeypatch: pytest.MonkeyPatch, addition: str) -> None:
    text = sources.program_text() + addition
    monkeypatch.setattr(loader, "program_text", lambda: text)


@pytest.mark.parametrize(
    ("found", "action", "renewed"),
    [
        (Pinned(WANTED, ALL_MAPS, ALL_PROGRAMS), Action.ADOPT, set()),
        (Pinned(WANTED, ALL_MAPS, frozenset()), Action.SWAP, set()),
        (Pinned(WANTED, ALL_MAPS, ALL_PROGRAMS - {"sockops"}), Action.SWAP, set()),
        (
            Pinned(replace(WANTED, programs="q"), ALL_MAPS, ALL_PROGRAMS),
            Action.SWAP,
            set(),
        ),
        (Pinned(WANTED, ALL_MAPS - {"flows"}, ALL_PROGRAMS), Action.SWAP, set(FLOW_MAPS)),
        (Pinned(but("flow_slots"), ALL_MAPS, ALL_PROGRAMS), Action.SWAP, set(FLOW_MAPS)),
        (
            Pinned(but("flows", "answers"), ALL_MAPS, ALL_PROGRAMS),
            Action.SWAP,
            {*FLOW_MAPS, "answers"},
        ),
        (Pinned(but("ports"), ALL_MAPS, ALL_PROGRAMS), Action.REBUILD, PROGRAMMED),
        (Pinned(WANTED, ALL_MAPS - {"pods"}, ALL_PROGRAMS), Action.REBUILD, PROGRAMMED),
        (
            Pinned(but("guards", "flows"), ALL_MAPS, ALL_PROGRAMS),
            Action.REBUILD,
            PROGRAMMED | set(FLOW_MAPS),
        ),
        (Pinned(Build(), ALL_MAPS, ALL_PROGRAMS), Action.REBUILD, ALL_MAPS),
        (Pinned(Build(), frozenset(), frozenset()), Action.REBUILD, ALL_MAPS),
    ],
)
def test_what_is_done_follows_from_what_is_found(
    found: Pinned, action: Action, renewed: set[str]
) -> None:
    plan = decide(found, WANTED)
    assert plan.action is action
    assert ALL_MAPS - plan.kept == renewed


def test_a_second_load_adopts(where: Place, client: Netns, server: Netns) -> None:
    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == FRESH
    before = linked_programs(where)
    assert set(before) == {program.name for program in CGROUP_PROGRAMS}

    maps = Maps.open(where.pin_dir)
    mesh = Engine(where, maps)
    mesh.enroll(client)
    mesh.workload(server.v4)
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((server.v4, 8080))
        before = linked_programs(where)
        assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == ADOPTED
        assert linked_programs(where) == before
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"x")
            assert s.recv(1) == b"x"
            assert peer(accepted).source
        assert len(list(maps.flows.items())) == 1
    eventually(lambda: not list(maps.flows.items()))
    maps.close()


#: Connects until it is told to stop.
STORM = """
import select, socket, sys
made = 0
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    with socket.create_connection((sys.argv[1], 80), 5) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    made += 1
print(made)
"""


def test_programs_are_swapped_under_traffic(
    where: Place, client: Netns, server: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    maps = Maps.open(where.pin_dir)
    mesh = Engine(where, maps)
    mesh.enroll(client)
    mesh.enroll(server, 5)
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, 8080)])
    before = linked_programs(where)
    with server.listen(server.v4, 8080, 4096) as listener, client.open_socket() as s:
        s.connect((VIP, 80))
        with client.popen(["/usr/bin/python3", "-c", STORM, VIP]) as storm:
            assert storm.stdout is not None
            assert storm.stdout.readline() == "up\n"
            with drained(listener):
                for number in range(2):
                    another_program(monkeypatch, f"/* version {number} */\n")
                    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == SWAPPED
                out, err = storm.communicate("stop")
        assert storm.returncode == 0, err
        assert int(out) > 50
        assert s.getpeername() == (VIP, 80)
    after = linked_programs(where)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before)  # the pods' too
    assert Counter.PENDING_LOST not in {c for c, n in maps.counters().items() if n}
    eventually(lambda: not list(maps.flows.items()))
    maps.close()


@contextlib.contextmanager
def drained(listener: socket.socket) -> Iterator[None]:
    """Take what comes while the block runs; compiling takes longer than a backlog."""
    over = threading.Event()
    listener.settimeout(0.05)

    def drain() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                listener.accept()[0].close()

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_other_sizes_wait_for_their_maps_to_be_written(
    where: Place, client: Netns, server: Netns, caplog: pytest.LogCaptureFixture
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    before = linked_programs(where)
    with (
        server.listen(server.v4, 8080) as listener,
        client.open_socket() as s,
        caplog.at_level("INFO", "bpf"),
    ):
        s.connect((VIP, 80))
        accepted, _ = listener.accept()
        staged = stage(where.pin_dir, where.cgroup, LARGER)
        assert staged.waiting
        assert staged.new_maps == PROGRAMMED
        assert "staged (another layout or size, or not there: addresses, " in caplog.text
        maps = Maps.open(staged.view)
        assert maps.ports.max_entries == 257
        assert list(maps.ports.items()) == list(maps.pods.items()) == []
        assert mesh_flow(where, maps, s, server) is not None
        assert linked_programs(where) == before
        assert answered(client, listener)

        # What is written meanwhile isn't in force.
        mesh = Engine(where, maps)
        mesh.maps.pods.put(client.cookie, Pod(0xB0D))
        mesh.vip(VIP)
        mesh.port(80, [])
        assert answered(client, listener)
        mesh.port(80, [(server.v4, 8080)])

        staged.commit()
        after = linked_programs(where)
        assert set(after) == set(before)
        assert all(after[name] != before[name] for name in before)  # the pods' too
        assert sorted(p.name for p in where.pin_dir.iterdir()) == PINS
        assert answered(client, listener)
        with accepted:
            assert peer(accepted).source != 0xB0D  # as it was made
    eventually(lambda: not list(maps.flows.items()))
    maps.close()
    assert outcome(load(where.pin_dir, where.cgroup, LARGER)) == ADOPTED


def test_only_a_map_whose_layout_changed_is_new(
    where: Place, client: Netns, server: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    text = sources.program_text().replace("COUNTER_MAX = ", "COUNTER_NEW = 0, COUNTER_MAX = 1")
    monkeypatch.setattr(loader, "program_text", lambda: text)
    maps = Maps.open(where.pin_dir)
    assert maps.counters()[Counter.CONNECT_SERVICE] == 1
    maps.close()
    swapped = load(where.pin_dir, where.cgroup, SMALL)
    assert outcome(swapped) == SWAPPED
    assert swapped.new_maps == {"counters"}
    maps = Maps.open(where.pin_dir)
    assert maps.counters()[Counter.CONNECT_SERVICE] == 0
    with server.listen(server.v4, 8080) as listener:
        assert answered(client, listener)
    maps.close()


def test_nothing_waits_where_nothing_serves(where: Place, client: Netns, server: Netns) -> None:
    """Pins of a node whose cgroup was made anew, as after a crash of the whole mesh."""
    with place("gone") as gone:
        load(where.pin_dir, gone.cgroup, SMALL)
    assert outcome(stage(where.pin_dir, where.cgroup, LARGER)) == FRESH
    assert redirects(where, client, server)


def test_a_commit_that_fails_changes_nothing(
    where: Place, client: Netns, server: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    before = linked_programs(where)
    staged = stage(where.pin_dir, where.cgroup, LARGER)
    updates = 0

    def update_link(link: int, program: int, what: str) -> None:
        nonlocal updates
        updates += 1
        if updates == 5:
            raise KernelError("bpf LINK_UPDATE", errno.EPERM)
        kernel_update(link, program, what)

    with monkeypatch.context() as patched:
        kernel_update = kernel.update_link
        patched.setattr(kernel, "update_link", update_link)
        with pytest.raises(LinkError, match="exclusive program"):
            staged.commit()
    assert updates > 5
    assert linked_programs(where) == before
    with server.listen(server.v4, 8080) as listener:
        assert answered(client, listener)
    assert outcome(load(where.pin_dir, where.cgroup, LARGER)) == FRESH
    assert redirects(where, client, server)


#: What a commit does, in its order: connect6 is missing, so that a link is made.
EFFECTS = (
    *[(kernel, "update_link", number) for number in (0, 3, 5)],
    *[(kernel, "create_link", 0), (Path, "mkdir", 0), (kernel, "pin", 0)],
    *[(Path, "rename", number) for number in range(6)],
    *[(Path, "unlink", number) for number in (0, 8, len(MAPS) + len(PROGRAMS))],
    *[(Path, "rmdir", number) for number in (0, 2, 3)],
)


@pytest.mark.parametrize(("owner", "effect", "number"), EFFECTS)
def test_a_commit_that_was_killed_is_made_good(
    where: Place, client: Netns, server: Netns, owner: object, effect: str, number: int
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    (where.pin_dir / "links" / "connect6").unlink()
    staged = stage(where.pin_dir, where.cgroup, LARGER)
    fill(where, staged, client, server)
    child = os.fork()
    if child == 0:
        die_before(owner, effect, number)
        staged.commit()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with server.listen(server.v4, 8080) as listener:
        assert answered(client, listener)
        again = stage(where.pin_dir, where.cgroup, LARGER)
        committed = effect in {"rename", "unlink", "rmdir"}
        assert again.action is (ADOPTED if committed else FRESH)
        assert again.waiting != committed
        assert answered(client, listener)
        if again.waiting:
            fill(where, again, client, server)
            again.commit()
        assert answered(client, listener)
    whole(where)


def test_a_commit_that_was_killed_can_be_rolled_back(
    where: Place, client: Netns, server: Netns
) -> None:
    """By an earlier build, which has never heard of the later one's programs."""
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    staged = stage(where.pin_dir, where.cgroup, LARGER)
    fill(where, staged, client, server)
    child = os.fork()
    if child == 0:
        die_before(Path, "rename", 3)
        staged.commit()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    back = stage(where.pin_dir, where.cgroup, SMALL)
    assert back.waiting
    with server.listen(server.v4, 8080) as listener:
        assert answered(client, listener)
        fill(where, back, client, server)
        back.commit()
        assert answered(client, listener)
    whole(where)


def die_before(owner: object, effect: str, number: int) -> None:
    """Have this process killed where it is about to do something for another time."""
    do = getattr(owner, effect)
    left = [number]

    def counted(*arguments: object, **named: object) -> object:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return do(*arguments, **named)

    setattr(owner, effect, counted)


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("int broken( {", "error: "),
        ("#error no good\n", "error: no good"),
    ],
)
def test_what_does_not_compile_changes_nothing(
    where: Place,
    client: Netns,
    server: Netns,
    monkeypatch: pytest.MonkeyPatch,
    addition: str,
    message: str,
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    with monkeypatch.context() as patched:
        another_program(patched, addition)
        with pytest.raises(LoadError, match=message) as failed:
            load(where.pin_dir, where.cgroup, SMALL)
    assert "\n" not in str(failed.value)
    assert str(failed.value).partition("compiled: ")[2] in failed.value.log
    assert redirects(where, client, server)
    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == ADOPTED


def test_what_the_verifier_rejects_is_said_in_its_words(
    where: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sources.program_text()
    unchecked = text.replace("if ((void *)(answer + 1) > ctx->optval_end)", "if (0)")
    assert unchecked != text
    monkeypatch.setattr(loader, "program_text", lambda: unchecked)
    with pytest.raises(LoadError, match=r"outside of the packet|invalid access") as failed:
        load(where.pin_dir, where.cgroup, SMALL)
    assert "getsockopt" in str(failed.value)
    assert "processed" in failed.value.log
    assert not (where.pin_dir / "staging").exists()


LOAD = """
import sys; from pathlib import Path
from bpf.loader import load; from tests.bpf.engine import SMALL
print("up", flush=True)
load(Path(sys.argv[1]), Path(sys.argv[2]), SMALL)
"""


@pytest.mark.parametrize("milliseconds", [0, 150, 300, 450])
def test_a_load_that_was_killed_is_made_good(
    where: Place, client: Netns, server: Netns, milliseconds: int
) -> None:
    command = [sys.executable, "-c", LOAD, str(where.pin_dir), str(where.cgroup)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as loading:
        assert loading.stdout is not None
        loading.stdout.readline()
        try:
            loading.wait(milliseconds / 1000)
        except subprocess.TimeoutExpired:
            loading.send_signal(signal.SIGKILL)
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("meta", FRESH),
        ("maps/flows", SWAPPED),
        ("maps/ports", FRESH),
        ("progs/sockops", SWAPPED),
        ("links/connect4", ADOPTED),
    ],
)
def test_what_is_missing_is_made_again(
    where: Place, client: Netns, server: Netns, damage: str, expected: Action
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    (where.pin_dir / damage).unlink()
    (where.pin_dir / "staging" / "progs").mkdir(parents=True)
    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == expected
    assert redirects(where, client, server)


def test_links_follow_to_another_cgroup(where: Place, client: Netns, server: Netns) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    with place("elsewhere") as elsewhere:
        assert outcome(load(where.pin_dir, elsewhere.cgroup, SMALL)) == ADOPTED
        assert not redirects(where, client, server)
        with elsewhere.joined():
            assert redirects(where, client, server)
        unload(where.pin_dir)


def test_the_cgroup_of_probes_comes_and_goes(where: Place) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert "probes" not in linked_programs(where)
    load(where.pin_dir, Targets(where.cgroup, where.cgroup), SMALL)
    assert "probes" in linked_programs(where)
    load(where.pin_dir, where.cgroup, SMALL)
    assert "probes" not in linked_programs(where)


def test_a_cgroup_that_is_not_there_is_named(where: Place) -> None:
    with pytest.raises(LoadError, match="/nowhere: No such file"):
        load(where.pin_dir, Path("/nowhere"), SMALL)


def test_unload_leaves_nothing(where: Place, client: Netns, server: Netns) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    assert len(attached_pods(where.pin_dir)) == 1
    with server.listen(server.v4, 8080), client.open_socket() as s:
        s.connect((VIP, 80))
        unload(where.pin_dir)
        assert not where.pin_dir.exists()
        assert s.getpeername() == (server.v4, 8080)
    unload(where.pin_dir)
