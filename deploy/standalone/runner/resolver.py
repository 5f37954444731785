"""One question to the cluster DNS, from bytes to bytes."""

from __future__ import annotations

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rrset

from deploy.standalone.runner.upstream import Upstream
from deploy.standalone.runner.zone import TTL, Answer, Zone

#: What fits through any path, and what is given without EDNS (RFC 6891, RFC 1035).
MAX_UDP = 1232
PLAIN_UDP = 512
MAX_TCP = 65535


class Resolver:
    """Answers from the zone, or asks the machine's own resolvers."""

    def __init__(self, zone: Zone, upstream: Upstream) -> None:
        self.zone = zone
        self.upstream = upstream

    async def resolve(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """The answer to a message, or None where silence is the answer."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return format_error(wire)
        if query.flags & dns.flags.QR:  # an answer is no question: don't loop
            return None
        response = await self.respond(query, tcp=tcp)
        limit = MAX_TCP if tcp else max(PLAIN_UDP, min(query.payload or 0, MAX_UDP))
        return response.to_wire(max_size=limit, prefer_truncation=True)

    async def respond(self, query: dns.message.Message, *, tcp: bool) -> dns.message.Message:
        """The answer to a query."""
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            return refuse(query, dns.rcode.NOTIMP)
        question = query.question[0]
        answer = None
        if question.rdclass == dns.rdataclass.IN:
            answer = self.zone.answer(question.name, question.rdtype)
        if answer is None:
            forwarded = await self.upstream.ask(query, tcp=tcp)
            return forwarded or refuse(query, dns.rcode.SERVFAIL)
        return render(query, answer, self.zone)


def render(query: dns.message.Message, answer: Answer, zone: Zone) -> dns.message.Message:
    """An authoritative answer; without records, the SOA says how long it holds."""
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.AA
    question = query.question[0]
    if answer.records:
        records = dns.rrset.from_rdata_list(question.name, TTL, answer.records)
        response.answer.append(records)
        for name, record in answer.additional:
            response.additional.append(dns.rrset.from_rdata(name, TTL, record))
    else:
        response.authority.append(dns.rrset.from_rdata(zone.domain, TTL, zone.soa))
        if not answer.exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
    return response


def refuse(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    """An answer that says no more than why there is none."""
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(rcode)
    return response


def format_error(wire: bytes) -> bytes | None:
    """FORMERR for what can't be read, if at least its id can (RFC 1035, 4.1.1)."""
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    response = dns.message.Message(id=int.from_bytes(wire[:2], "big"))
    response.flags = dns.flags.Flag(dns.flags.QR)
    response.set_rcode(dns.rcode.FORMERR)
    return response.to_wire()
