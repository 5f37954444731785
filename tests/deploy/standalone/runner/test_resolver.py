"""Questions to the cluster DNS, from bytes to bytes."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.resolver import Resolver
from deploy.standalone.runner.spec import EndpointView, ServiceView
from deploy.standalone.runner.zone import Zone

MANY = tuple(
    EndpointView(f"db-{i}", (f"10.244.{i // 200 + 1}.{i % 200 + 2}",), True) for i in range(300)
)
SERVICES = (
    ServiceView("default", "web", "web.default.svc.cluster.local", vips=("10.96.1.2",)),
    ServiceView("default", "db", "db.default.svc.cluster.local", headless=True, endpoints=MANY),
)


class Elsewhere:
    """Stands for the machine's resolvers."""

    def __init__(self) -> None:
        self.answers = True

    async def ask(self, query: dns.message.Message, *, tcp: bool) -> dns.message.Message | None:
        return dns.message.make_response(query) if self.answers else None


def make() -> Resolver:
    return Resolver(Zone(MeshConfig(), SERVICES), Elsewhere())  # type: ignore[arg-type]


async def ask(query: dns.message.Message, *, tcp: bool = False) -> dns.message.Message:
    wire = await make().resolve(query.to_wire(), tcp=tcp)
    assert wire is not None
    answer = dns.message.from_wire(wire)
    assert answer.id == query.id
    return answer


async def test_an_address() -> None:
    answer = await ask(dns.message.make_query("web.default.svc.cluster.local", "A"))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert answer.flags & dns.flags.RA
    [rrset] = answer.answer
    assert rrset.ttl == 5
    assert rrset[0].to_text() == "10.96.1.2"


async def test_no_name_and_no_data_come_with_the_soa() -> None:
    answer = await ask(dns.message.make_query("no.default.svc.cluster.local", "A"))
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].to_text().startswith("cluster.local. 5 IN SOA")
    answer = await ask(dns.message.make_query("web.default.svc.cluster.local", "AAAA"))
    assert answer.rcode() == dns.rcode.NOERROR
    assert not answer.answer
    assert answer.authority[0].to_text().startswith("cluster.local. 5 IN SOA")


async def test_others_are_asked_for_the_rest() -> None:
    answer = await ask(dns.message.make_query("example.com", "A"))
    assert answer.rcode() == dns.rcode.NOERROR
    resolver = make()
    resolver.upstream.answers = False  # type: ignore[attr-defined]
    query = dns.message.make_query("example.com", "A")
    wire = await resolver.resolve(query.to_wire(), tcp=False)
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (1232, 1232), (65535, 1232)])
async def test_too_much_for_a_datagram_is_cut(payload: int | None, limit: int) -> None:
    edns = {} if payload is None else {"use_edns": 0, "payload": payload}
    query = dns.message.make_query("db.default.svc.cluster.local", "A", **edns)  # type: ignore[arg-type]
    wire = await make().resolve(query.to_wire(), tcp=False)
    assert wire is not None
    assert len(wire) <= limit
    assert dns.message.from_wire(wire).flags & dns.flags.TC


async def test_a_stream_takes_all() -> None:
    answer = await ask(dns.message.make_query("db.default.svc.cluster.local", "A"), tcp=True)
    assert len(answer.answer[0]) == 300
    assert not answer.flags & dns.flags.TC


async def test_what_is_no_query_of_ours() -> None:
    resolver = make()
    assert await resolver.resolve(b"", tcp=False) is None
    assert await resolver.resolve(b"\x12\x34", tcp=False) is None
    query = dns.message.make_query("web.default.svc.cluster.local", "A")
    assert await resolver.resolve(dns.message.make_response(query).to_wire(), tcp=False) is None
    wire = await resolver.resolve(query.to_wire()[:20], tcp=False)
    assert wire is not None
    broken = dns.message.from_wire(wire)
    assert (broken.rcode(), broken.id) == (dns.rcode.FORMERR, query.id)
    query.set_opcode(dns.opcode.NOTIFY)
    assert (await ask(query)).rcode() == dns.rcode.NOTIMP
