from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from daemon.dns.answers import Answers, Asker
from daemon.dns.resolver import LONGEST, Forward, Local, Plan, Refuse, Resolver
from tests.daemon.dns.meshes import APP, DOMAIN, mesh, query, service
from ztunnel_compat.model import Service, Workload
from ztunnel_compat.state import WorkloadState


class World:
    def __init__(self, most: int = 100) -> None:
        self.state = WorkloadState()
        self.resolver = Resolver(Answers(self.state, DOMAIN), most)
        self.apply(*mesh())
        self.resolver.begin()

    def apply(self, *updated: Service | Workload, removed: tuple[str, ...] = ()) -> None:
        self.resolver.changed(self.state.apply(updated, removed))

    def plan(self, wire: bytes, asker: Asker = APP) -> Plan:
        return self.resolver.plan(wire, asker)


def sent(plan: Plan, wire: bytes) -> dns.message.Message:
    assert isinstance(plan, Local)
    made = plan.answer.to_wire(wire[:2], plan.limit, lambda _: None)
    return dns.message.from_wire(made)


def first_address(world: World, wire: bytes, asker: Asker = APP) -> str:
    return sent(world.plan(wire, asker), wire).answer[-1][0].to_text()


@pytest.mark.parametrize(
    ("name", "kind", "internet", "local"),
    [
        ("web.app", "A", True, True),
        ("web.app", "AAAA", True, True),
        ("four.app", "AAAA", True, True),
        ("www.google.com", "A", True, False),
        ("web.app", "SRV", True, False),
        ("web.app", "MX", True, False),
        ("web.app", "TXT", True, False),
        ("web.app", "ANY", True, False),
        ("1.0.96.10.in-addr.arpa", "PTR", True, False),
        ("web.app", "A", False, False),
        (".", "A", True, False),
    ],
)
def test_answered_or_forwarded(name: str, kind: str, internet: bool, local: bool) -> None:
    wire = dns.message.make_query(name, kind, "IN" if internet else "CH").to_wire()
    plan = World().plan(wire)
    assert isinstance(plan, Local if local else Forward)
    assert plan.kind == kind.lower()


def test_what_is_no_query_is_refused() -> None:
    world = World()
    assert world.plan(b"x") == Refuse(None)
    plan = world.plan(query("web")[:-1])
    assert isinstance(plan, Refuse)
    assert plan.reply is not None
    assert world.resolver.plans == {}


def test_an_unknown_version_of_edns_is_refused_for_our_names() -> None:
    plan = World().plan(dns.message.make_query("web", "A", use_edns=1).to_wire())
    assert isinstance(plan, Refuse)
    assert dns.message.from_wire(plan.reply or b"").rcode() == dns.rcode.BADVERS
    other = dns.message.make_query("google.com", "A", use_edns=1).to_wire()
    assert isinstance(World().plan(other), Forward)


def test_the_same_again_is_remembered_and_the_id_is_new() -> None:
    world = World()
    for number in (1, 2, 3):
        wire = query("web", number=number)
        made = sent(world.plan(wire), wire)
        assert (made.id, made.answer[0][0].to_text()) == (number, "10.96.0.1")
    assert world.resolver.hits == 2
    wire = query("google.com")
    assert isinstance(world.plan(wire), Forward)
    assert isinstance(world.plan(wire), Forward)
    assert world.resolver.hits == 3


def test_what_is_remembered_is_the_askers_own() -> None:
    world = World()
    assert first_address(world, query("web")) == "10.96.0.1"
    assert first_address(world, query("web"), Asker("other", "")) == "10.96.0.3"
    assert sent(world.plan(query("web"), Asker("app", "elsewhere")), query("web")).answer == []


def test_a_change_is_seen_at_once() -> None:
    world = World()
    wire = query("db.example.com")
    assert first_address(world, wire) == "240.240.0.1"
    world.apply(service("db.example.com", "240.240.9.9"))
    assert first_address(world, wire) == "240.240.9.9"
    world.apply(removed=("app/db.example.com",))
    assert isinstance(world.plan(wire), Forward)


def test_memory_is_bounded() -> None:
    world = World(most=10)
    for number in range(50):
        world.plan(query(f"n{number}.example.com"))
    assert len(world.resolver.plans) == 10
    assert isinstance(world.plan(query("n49.example.com")), Forward)
    assert world.resolver.hits == 1
    long = query("web")[:10] + b"\0\1" + query("web")[12:] + b"\0\0\x29\4\xd0\0\0\0\0"
    long += (LONGEST + 4).to_bytes(2, "big") + b"\0\x0c" + LONGEST.to_bytes(2, "big")
    assert isinstance(world.plan(long + bytes(LONGEST)), Local)
    assert all(len(wire) <= LONGEST for _, wire in world.resolver.plans)


def test_nothing_is_answered_before_the_mesh_is_known() -> None:
    resolver = Resolver(Answers(WorkloadState(), DOMAIN))
    resolver.changed(resolver.answers.state.apply(mesh(), ()))
    assert isinstance(resolver.plan(query("web"), APP), Forward)
    resolver.begin()
    assert isinstance(resolver.plan(query("web"), APP), Local)
