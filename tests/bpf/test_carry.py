"""Values of one layout made into another's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bpf import loader, sources
from bpf.build import Build, map_layouts
from bpf.carry import Carrying, between, conversion
from bpf.knobs import Knobs
from bpf.layout import ActiveKey, Flow, FlowFlag, FlowKey
from bpf.loader import Action, load, stage
from bpf.maps import Maps
from bpf.sources import CARRIED_BY, FLOW_MAPS, PROGRAMS, program_text
from tests.bpf.engine import SMALL, Place, engine, eventually, peer, place
from tests.bpf.loads import LARGER, VIP, entries, fill, mesh_flow, redirects, whole
from tests.support.netns import Netns

FLOW = Flow(source=1, target=2, original=bytes(range(16)), original_port=3, flags=4, identity=5)
LAYOUTS = map_layouts(program_text(), Knobs())
LAYOUT = LAYOUTS["flows"]
OLD = """BPF_F_TABLE("hash", struct k, struct v, name, 7, X)
struct k { __u64 a; }
struct v { __u64 one; __u32 two; __be16 three; __u8 pad[2]; __u8 four[16]; }"""


def test_our_own_layout_is_read_whole() -> None:
    same = conversion(LAYOUT, LAYOUT)
    assert same is not None
    assert same.size == Flow.SIZE
    assert same(FLOW.pack()) == FLOW.pack()


@pytest.mark.parametrize(
    ("struct", "value"),
    [
        ("__u64 one; __u32 two; __be16 three; __u8 pad[2]; __u8 four[16];", "1234"),
        ("__u8 four[16]; __be16 three; __u8 pad[2]; __u32 two; __u64 one;", "4321"),
        ("__u64 new; __u64 one; __u8 four[16];", "014"),
        ("__u32 one; __u32 two;", "o2"),  # a field of another size is another field
        ("__u64 other;", "0"),
    ],
)
def test_fields_go_by_name_and_size(struct: str, value: str) -> None:
    parts = {
        "1": b"\1" * 8,
        "2": b"\2" * 4,
        "3": b"\3" * 2,
        "4": b"\4" * 16,
        "0": bytes(8),
        "o": bytes(4),
    }
    old = parts["1"] + parts["2"] + parts["3"] + b"\7\7" + parts["4"]
    new = OLD[: OLD.index("struct v {")] + f"struct v {{ {struct} }}"
    convert = conversion(OLD, new)
    assert convert is not None
    expected = b"".join(parts[name] + bytes(2) * (name == "3") for name in value)
    assert convert(old) == expected


@pytest.mark.parametrize(
    "other",
    [
        OLD.replace("struct k { __u64 a; }", "struct k { __u64 b; }"),
        OLD.replace('"hash"', '"array"'),
        "",
    ],
)
def test_other_keys_and_other_maps_are_not_carried(other: str) -> None:
    assert conversion(OLD, other) is None
    assert conversion(other, OLD) is None


def test_what_is_carried_can_be() -> None:
    assert set(CARRIED_BY) <= {program.name for program in PROGRAMS}


@pytest.fixture
def where() -> Iterator[Place]:
    with place("carry") as made, made.joined():
        yield made


#: One slot, so that most flows are in the hash.
CROWDED = Knobs(pods=8, addresses=8, ports=8, endpoints=64, flows=64, flow_slots=1)


def test_what_came_changed_and_went_is_settled() -> None:
    """And what went with a flow that is gone isn't given back twice."""
    keys = [FlowKey(bytes(16), bytes(16), port, 80) for port in range(1, 6)]
    stays, changes, taken_anew, goes, comes = keys
    counted = Flow(source=1, flags=FlowFlag.COUNTED)
    endpoint = ActiveKey(bytes(16), 80)
    same = conversion(LAYOUT, LAYOUT)
    assert same is not None
    with engine("old", CROWDED) as old, engine("new", CROWDED) as new:
        for key in (stays, changes, taken_anew, goes):
            old.maps.flows.put(key, replace(counted, started=key.source_port))
        new.active.put(endpoint, 4)
        carrying = Carrying(old.place.pin_dir, new.place.pin_dir, same)
        carrying.copy()
        assert dict(new.maps.flows.items()) == dict(old.maps.flows.items())
        old.maps.flows.put(changes, replace(counted, started=2, established=9))
        old.maps.flows.put(taken_anew, Flow(source=7, started=8))
        old.maps.flows.delete(goes)
        old.maps.flows.put(comes, counted)
        new.maps.flows.put(comes, Flow(source=1))  # by a new program, beside the old one
        carrying.settle()
        assert dict(new.maps.flows.items()) == dict(old.maps.flows.items())
        assert len(dict(new.maps.flows.items())) == 4
        assert new.active.get(endpoint) == 4


def test_flows_of_slots_of_another_shape_are_not_carried() -> None:
    build = Build(maps=LAYOUTS)
    other = LAYOUTS["flow_slots"].replace("__u64 check;", "__u32 check;")
    assert other != LAYOUTS["flow_slots"]
    assert between(build, build) is not None
    assert between(Build(maps={**LAYOUTS, "flow_slots": other}), build) is None
    assert between(Build(), build) is None


def more_of_a_flow(text: str) -> str:
    before, struct, after = text.partition("struct flow {")
    return f"{before}{struct} __u32 first; __u32 second; {after}"


@pytest.mark.parametrize("changed", ["size", "layout"])
def test_flows_are_carried_over(
    where: Place, client: Netns, server: Netns, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Established connections stay whose they are, and what closes goes."""
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    maps = Maps.open(where.pin_dir)
    with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
        s.connect((VIP, 80))
        with listener.accept()[0] as accepted:
            before = mesh_flow(where, maps, s, server)
            assert before is not None
            told = peer(accepted)
            maps.close()
            if changed == "layout":
                text = more_of_a_flow(sources.program_text())
                monkeypatch.setattr(loader, "program_text", lambda: text)
            sizes = replace(SMALL, flows=SMALL.flows + (changed == "size"))
            swapped = load(where.pin_dir, where.cgroup, sizes)
            assert swapped.action is Action.SWAP
            assert swapped.new_maps - {"narrowing"} == set(FLOW_MAPS)  # which is scratch
            whole(where)
            added = 8 if changed == "layout" else 0
            assert entries(where) == [bytes(added) + before.pack()]
            assert s.getpeername() == (VIP, 80)
            if changed == "size":
                assert peer(accepted) == told
    eventually(lambda: entries(where) == [])


def test_flows_are_settled_at_the_last_moment(
    where: Place, client: Netns, server: Netns
) -> None:
    """One that came after the copy is in it, one that went is not."""
    load(where.pin_dir, where.cgroup, SMALL)
    assert redirects(where, client, server)
    with server.listen(server.v4, 8080):
        went, stays, came = (client.open_socket() for _ in range(3))
        went.connect((VIP, 80))
        stays.connect((VIP, 80))
        staged = stage(where.pin_dir, where.cgroup, replace(LARGER, flows=64))
        staged.copy()
        fill(where, staged, client, server)
        assert len(entries(where, "staging")) == 2
        went.close()
        came.connect((VIP, 80))
        eventually(lambda: len(entries(where)) == 2)
        wanted = entries(where)
        staged.commit()
        assert sorted(entries(where)) == sorted(wanted)
        stays.close()
        came.close()
    eventually(lambda: entries(where) == [])
    whole(where)


#: Tells each caller, before it is gone, whether it is known; counts.
TELLING = """
import select, socket, sys
listener = socket.create_server((sys.argv[1], 8080), backlog=1024)
known = unknown = 0
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    if not select.select([listener, sys.stdin], [], [])[0] == [listener]:
        continue
    with listener.accept()[0] as accepted:
        try:
            accepted.getsockopt(6, 200, 72)
            known += 1
        except OSError:
            unknown += 1
        accepted.sendall(b"x")
        accepted.recv(1)
print(known, unknown)
"""
CALLING = """
import select, socket, sys
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    with socket.create_connection((sys.argv[1], 80), 5) as s:
        assert s.recv(1) == b"x"
"""


def test_nobody_is_unknown_while_flows_are_carried_over(
    where: Place, client: Netns, server: Netns
) -> None:
    fill(where, load(where.pin_dir, where.cgroup, SMALL), client, server)
    with contextlib.ExitStack() as stack:
        running = []
        for one, code, address in ((server, TELLING, server.v4), (client, CALLING, VIP)):
            command = ["/usr/bin/python3", "-c", code, address]
            running.append(stack.enter_context(one.popen(command)))
            output = running[-1].stdout
            assert output is not None
            assert output.readline() == "up\n"
        telling, calling = running
        for number in range(1, 4):
            sizes = replace(SMALL, flows=SMALL.flows + number)
            assert load(where.pin_dir, where.cgroup, sizes).new_maps == set(FLOW_MAPS)
        assert calling.communicate("stop")[1] == ""
        known, unknown = map(int, telling.communicate("stop")[0].split())
    assert calling.returncode == 0
    assert known > 100
    assert unknown == 0
    eventually(lambda: entries(where) == [])
