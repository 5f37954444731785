"""Questions to the machine's resolvers; these are fakes on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.message
import pytest

from deploy.standalone.runner import upstream as module
from deploy.standalone.runner.upstream import Upstream, nameservers

QUERY = dns.message.make_query("example.com", "A")


class Fake(asyncio.DatagramProtocol):
    """Answers each question, with an id of its own choice on request."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.ids: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.ids.append(query.id)
        if not self.silent:
            wire = dns.message.make_response(query).to_wire()
            self.transport.sendto(wire, addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def resolver(*, silent: bool = False) -> AsyncIterator[tuple[Fake, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(
        lambda: Fake(silent=silent), local_addr=("127.0.0.1", 0)
    )
    try:
        yield fake, transport.get_extra_info("sockname")
    finally:
        transport.close()


def asking(*servers: tuple[str, int]) -> Upstream:
    class Known(Upstream):
        def servers(self) -> list[tuple[str, int]]:
            return list(servers)

    return Known(timeout=0.4)


async def test_the_answer_has_the_askers_id_and_the_question_one_of_ours() -> None:
    async with resolver() as (fake, server):
        upstream = asking(server)
        for _ in range(4):
            answer = await upstream.ask(QUERY, tcp=False)
            assert answer is not None
            assert answer.id == QUERY.id
    assert len(set(fake.ids)) > 1


async def test_the_next_is_asked_when_one_is_silent() -> None:
    async with resolver(silent=True) as (_, first), resolver() as (fake, second):
        upstream = asking(first, second)
        assert await upstream.ask(QUERY, tcp=False) is not None
    assert len(fake.ids) == 1


async def test_nobody_answers() -> None:
    async with resolver(silent=True) as (_, server):
        upstream = asking(server)
        assert await upstream.ask(QUERY, tcp=False) is None
        assert await upstream.ask(QUERY, tcp=True) is None
    assert await asking().ask(QUERY, tcp=False) is None
    assert upstream.failed == 2
    assert upstream.outstanding == 0


async def test_the_number_under_way_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OUTSTANDING", 2)
    async with resolver(silent=True) as (_, server):
        upstream = asking(server)
        asked = [asyncio.ensure_future(upstream.ask(QUERY, tcp=False)) for _ in range(3)]
        await asked[2]
        assert not asked[0].done()
        assert upstream.overflowed == 1
        await asyncio.gather(*asked)
    assert (upstream.failed, upstream.outstanding) == (2, 0)


def test_resolv_conf_is_read_again_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    upstream = Upstream(file)
    assert upstream.servers() == []
    file.write_text("nameserver 192.0.2.1\n")
    assert upstream.servers() == [("192.0.2.1", 53)]
    file.write_text("nameserver 192.0.2.2\n")
    os.utime(file, (1, 1))
    assert upstream.servers() == [("192.0.2.2", 53)]


def test_nameservers() -> None:
    text = """search x
nameserver 1.1.1.1 # first
#nameserver 2
nameserver
nameserver ::1
nameserver 3.3.3.3
nameserver 4.4.4.4
"""
    assert nameservers(text) == [("1.1.1.1", 53), ("::1", 53), ("3.3.3.3", 53)]
