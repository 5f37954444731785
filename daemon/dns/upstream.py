"""Asks the cluster DNS what the mesh doesn't know, from the node agent's own netns.

Every question has a socket of its own, so that whoever wants to forge an answer
must guess the port, which the kernel picks at random, and the id (RFC 5452).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import dns.rcode

logger = logging.getLogger(__name__)

PORT: Final = 53
#: Seconds for one question, shared by the attempts; a client asks again after 5.
SECONDS: Final = 3.0
#: How often a question is asked: at least twice, as datagrams get lost.
LEAST_ATTEMPTS: Final = 2
MOST_ATTEMPTS: Final = 3
#: Answers that say something of the server rather than of the name.
ITS_OWN_FAULT: Final = (dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)
MAX_MESSAGE: Final = 65535


class Upstream:
    """The cluster DNS's servers, asked one after the other; seconds: for all of them."""

    def __init__(
        self, servers: Sequence[str], seconds: float = SECONDS, port: int = PORT
    ) -> None:
        self.servers = tuple(servers)
        self.seconds = seconds
        self.port = port

    def attempts(self) -> tuple[str, ...]:
        """Whom to ask, in order."""
        count = min(max(len(self.servers), LEAST_ATTEMPTS), MOST_ATTEMPTS)
        return tuple(islice(cycle(self.servers), count))

    async def ask(self, wire: bytes, question: bytes, *, tcp: bool) -> bytes | None:
        """The answer to a message, whose question is this; None: nobody gave one.

        Nothing but the id is changed, either way.
        """
        last = None
        attempts = self.attempts()
        for server in attempts:
            asked = secrets.token_bytes(2) + wire[2:]
            exchange = self.by_tcp if tcp else self.by_udp
            try:
                async with asyncio.timeout(self.seconds / len(attempts)):
                    reply = await exchange(server, asked, question)
            except (OSError, EOFError, TimeoutError) as error:
                logger.debug("upstream %s: %r", server, error)
                continue
            last = wire[:2] + reply[2:]
            if rcode(reply) not in ITS_OWN_FAULT:
                break
        return last

    async def by_udp(self, server: str, asked: bytes, question: bytes) -> bytes:
        """Ask by a datagram; others' answers are passed over."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(family, kind) as asking:
            asking.connect((server, self.port))
            asking.send(asked)
            while True:
                reply = await loop.sock_recv(asking, MAX_MESSAGE)
                if answers(reply, asked, question):
                    return reply

    async def by_tcp(self, server: str, asked: bytes, question: bytes) -> bytes:
        """Ask over a connection."""
        reader, writer = await asyncio.open_connection(server, self.port)
        try:
            writer.write(len(asked).to_bytes(2, "big") + asked)
            reply = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()
        if not answers(reply, asked, question):
            raise EOFError("the answer is to another question")
        return reply


def answers(reply: bytes, asked: bytes, question: bytes) -> bool:
    """Whether a message answers the one that was asked.

    A server that couldn't read the question need not repeat it.
    """
    if len(reply) < 12 or reply[:2] != asked[:2] or not reply[2] & 0x80:
        return False
    if reply[4:6] == b"\0\0":
        return rcode(reply) != dns.rcode.NOERROR
    return reply[12 : 12 + len(question)].lower() == question.lower()


def rcode(reply: bytes) -> int:
    """What a message says about itself."""
    return reply[3] & 0x0F


def system_servers(resolv_conf: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """The servers of a resolv.conf; none when it can't be read."""
    try:
        text = resolv_conf.read_text()
    except OSError:
        return ()
    lines = (line.split() for line in text.splitlines())
    return tuple(words[1] for words in lines if words[:1] == ["nameserver"] and words[1:])
