"""The loader: fresh, adopting, swapping, rebuilding, cut short."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import loader, sources
from bpf.errors import LoadError
from bpf.kernel import link_info, pinned
from bpf.knobs import Knobs
from bpf.layout import Counter
from bpf.links import attached_pods
from bpf.loader import NOTHING, Action, Loaded, Pinned, decide, load, unload, write_meta
from bpf.maps import Maps
from bpf.sources import CGROUP_PROGRAMS, MAPS, PROGRAMS, Build
from tests.bpf.engine import SMALL, Engine, Place, eventually, peer, place
from tests.support.netns import Netns

VIP = "10.96.1.1"
WANTED = Build(programs=b"p" * 32, maps=b"m" * 32)
ALL_MAPS = frozenset(MAPS)
ALL_PROGRAMS = frozenset(program.name for program in PROGRAMS)


@pytest.fixture
def where() -> Iterator[Place]:
    with place("loader") as made, made.joined():
        yield made


def outcome(loaded: Loaded) -> tuple[bool, bool]:
    return loaded.adopted, loaded.swapped


FRESH, ADOPTED, SWAPPED = (False, False), (True, False), (False, True)


def another_program(monkeypatch: pytest.MonkeyPatch, addition: str) -> None:
    text = sources.program_text() + addition
    monkeypatch.setattr(loader, "program_text", lambda: text)


def linked_programs(where: Place) -> dict[str, int]:
    found = {}
    for path in (where.pin_dir / "links").iterdir():
        with pinned(path) as link:
            found[path.name] = link_info(link, path.name).program
    return found


def redirects(where: Place, client: Netns, server: Netns) -> bool:
    """Whether the programs do their work, with maps filled for it."""
    maps = Maps.open(where.pin_dir)
    mesh = Engine(where, maps, generation=1000)
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, 8080)])
    try:
        with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
            s.settimeout(1)
            s.connect((VIP, 80))
            with listener.accept()[0] as accepted:
                return bool(peer(accepted).source)
    except OSError:
        return False
    finally:
        maps.close()


@pytest.mark.parametrize(
    ("found", "action"),
    [
        (Pinned(WANTED, ALL_MAPS, ALL_PROGRAMS), Action.ADOPT),
        (Pinned(WANTED, ALL_MAPS, frozenset()), Action.SWAP),
        (Pinned(WANTED, ALL_MAPS, ALL_PROGRAMS - {"sockops"}), Action.SWAP),
        (Pinned(WANTED, ALL_MAPS - {"flows"}, ALL_PROGRAMS), Action.REBUILD),
        (Pinned(Build(b"q" * 32, b"m" * 32), ALL_MAPS, ALL_PROGRAMS), Action.SWAP),
        (Pinned(Build(b"p" * 32, b"n" * 32), ALL_MAPS, ALL_PROGRAMS), Action.REBUILD),
        (Pinned(Build(bytes(32), b"m" * 32), ALL_MAPS, ALL_PROGRAMS), Action.SWAP),
        (Pinned(NOTHING, ALL_MAPS, ALL_PROGRAMS), Action.REBUILD),
        (Pinned(NOTHING, frozenset(), frozenset()), Action.REBUILD),
    ],
)
def test_what_is_done_follows_from_what_is_found(found: Pinned, action: Action) -> None:
    assert decide(found, WANTED) is action


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
            for number in range(3):
                another_program(monkeypatch, f"/* version {number} */\n")
                assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == SWAPPED
                drain(listener)
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


def drain(listener: socket.socket) -> None:
    listener.setblocking(False)
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return


def test_other_sizes_rebuild_and_pods_stay_linked(
    where: Place, client: Netns, server: Netns, caplog: pytest.LogCaptureFixture
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    before = linked_programs(where)
    larger = Knobs(pods=65, addresses=256, ports=256, endpoints=4096, flows=4096, pending=4096)
    with caplog.at_level("INFO", "bpf"):
        assert outcome(load(where.pin_dir, where.cgroup, larger)) == FRESH
    assert "layout or sizes changed: pods must be enrolled again" in caplog.text
    maps = Maps.open(where.pin_dir)
    assert maps.pods.max_entries == 65
    assert list(maps.pods.items()) == []
    maps.close()
    after = linked_programs(where)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before)
    assert redirects(where, client, server)


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
    assert str(failed.value).partition("loaded: ")[2] in failed.value.log
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
        ("maps/flows", FRESH),
        ("progs/sockops", SWAPPED),
        ("links/connect4", ADOPTED),
    ],
)
def test_what_is_missing_is_made_again(
    where: Place, client: Netns, server: Netns, damage: str, expected: tuple[bool, bool]
) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    (where.pin_dir / damage).unlink()
    (where.pin_dir / "staging" / "progs").mkdir(parents=True)
    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == expected
    assert redirects(where, client, server)


def test_a_swap_cut_short_is_finished(where: Place, client: Netns, server: Netns) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    text = sources.program_text()
    kept = sources.build(text, SMALL).maps
    write_meta(where.pin_dir, Build(programs=NOTHING.programs, maps=kept))
    assert outcome(load(where.pin_dir, where.cgroup, SMALL)) == SWAPPED
    assert redirects(where, client, server)


def test_links_follow_to_another_cgroup(where: Place, client: Netns, server: Netns) -> None:
    load(where.pin_dir, where.cgroup, SMALL)
    with place("elsewhere") as elsewhere:
        assert outcome(load(where.pin_dir, elsewhere.cgroup, SMALL)) == ADOPTED
        assert not redirects(where, client, server)
        with elsewhere.joined():
            assert redirects(where, client, server)
        unload(where.pin_dir)


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
