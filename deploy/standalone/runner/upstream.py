"""Questions that are not about the cluster go to the machine's own resolvers."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message

logger = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
TIMEOUT = 2.0
MAX_OUTSTANDING = 256


class Upstream:
    """Asks the resolvers that /etc/resolv.conf names, from the machine's netns.

    overflowed counts questions that were not asked, because MAX_OUTSTANDING
    others waited for an answer; failed those that no resolver answered.
    """

    def __init__(self, resolv_conf: Path = RESOLV_CONF, timeout: float = TIMEOUT) -> None:
        self.resolv_conf = resolv_conf
        self.timeout = timeout
        self.read: tuple[float, list[tuple[str, int]]] = (0.0, [])
        self.outstanding = 0
        self.overflowed = 0
        self.failed = 0

    def servers(self) -> list[tuple[str, int]]:
        """(address, port) of each resolver; the file is read again when it changed."""
        try:
            changed = self.resolv_conf.stat().st_mtime
            if changed != self.read[0]:
                self.read = changed, nameservers(self.resolv_conf.read_text())
        except OSError:
            self.read = 0.0, []
        return self.read[1]

    async def ask(self, query: dns.message.Message, *, tcp: bool) -> dns.message.Message | None:
        """The first answer that a resolver gives, or None after the time for one."""
        if self.outstanding >= MAX_OUTSTANDING:
            self.overflowed += 1
            if self.overflowed & (self.overflowed - 1) == 0:  # 1, 2, 4 …: not a line each
                logger.warning(
                    "%d DNS questions were not forwarded: %d wait for an answer",
                    self.overflowed,
                    self.outstanding,
                )
            return None
        self.outstanding += 1
        try:
            return await self.try_each(query, tcp=tcp)
        finally:
            self.outstanding -= 1

    async def try_each(
        self, query: dns.message.Message, *, tcp: bool
    ) -> dns.message.Message | None:
        """Ask one resolver after the other, sharing the time between them."""
        servers = self.servers()
        # An id that the asker in the pod doesn't choose: harder to forge answers to.
        asked, query.id = query.id, secrets.randbelow(1 << 16)
        try:
            for address, port in servers:
                share = self.timeout / len(servers)
                try:
                    answer = await exchange(query, address, port, share, tcp=tcp)
                except (OSError, dns.exception.DNSException, EOFError) as error:
                    logger.debug("resolver %s: %s", address, error)
                    continue
                answer.id = asked
                return answer
        finally:
            query.id = asked
        self.failed += 1
        return None


async def exchange(
    query: dns.message.Message, address: str, port: int, seconds: float, *, tcp: bool
) -> dns.message.Message:
    """One question to one resolver; raises OSError or DNSException."""
    if tcp:
        return await dns.asyncquery.tcp(query, address, timeout=seconds, port=port)
    return await dns.asyncquery.udp(
        query, address, timeout=seconds, port=port, ignore_unexpected=True
    )


def nameservers(text: str) -> list[tuple[str, int]]:
    """The resolvers of a resolv.conf, at most three as in resolv.conf(5)."""
    lines = (line.split("#")[0].split() for line in text.splitlines())
    return [(words[1], 53) for words in lines if words[:1] == ["nameserver"] and words[1:]][:3]
