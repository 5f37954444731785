"""Who needs a certificate, renewal, and what there is right now."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from ztunnel_compat.certificates import Certificate, Span
from ztunnel_compat.credentials.contexts import Contexts, make_contexts
from ztunnel_compat.errors import CertificateError, CertificateFailure
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.runtime.tasks import Tasks, cancel

logger = logging.getLogger(__name__)

#: Requests under way at a time, and the longest delay between two attempts: ztunnel's.
CONCURRENT: Final = 8
RETRY_FIRST, RETRY_MOST = 0.5, 150.0
#: Renewal comes earlier by up to this share of what is left until half of the life, so
#: that nodes that started together don't ask together.
JITTER: Final = 0.1
#: Seconds between a certificate and its renewal at least, however short it was to hold.
GAP: Final = 30.0
#: The longest sleep: the clock may be set meanwhile.
NAP: Final = 60.0

Fetch = Callable[[Identity], Awaitable[Certificate]]


class State(Enum):
    """Of one identity's certificate, as ztunnel calls it."""

    INITIALIZING = "Initializing"
    AVAILABLE = "Available"
    UNAVAILABLE = "Unavailable"


class Held:
    """One identity: how many pods have it, and its certificate."""

    def __init__(self) -> None:
        self.pods = 0
        self.certificate: Certificate | None = None
        self.contexts: Contexts | None = None
        self.error = ""
        #: Set once the first attempt came to an end, good or bad.
        self.tried = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Holder:
    """Keeps the certificates of held identities; is ``Credentials``.

    fetch: gets a new one, raises CertificateError; clock: Unix seconds; sleep and
    draw: for tests. followers: called with an identity whose certificate was renewed.
    """

    def __init__(
        self,
        fetch: Fetch,
        tasks: Tasks,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.fetch = fetch
        self.tasks = tasks
        self.clock = clock
        self.sleep = sleep
        self.draw = draw
        self.held: dict[Identity, Held] = {}
        self.turn = asyncio.Semaphore(CONCURRENT)
        self.followers: list[Callable[[Identity], None]] = []
        self.issued = 0
        self.failures: Counter[CertificateFailure] = Counter()

    # ---- who needs one

    def hold(self, identity: Identity) -> None:
        """A pod of ours has this identity; fetches its certificate."""
        held = self.held.get(identity)
        if held is None:
            held = self.held[identity] = Held()
            held.task = self.tasks.spawn(self.keep(identity, held), f"certificate {identity}")
        held.pods += 1

    def drop(self, identity: Identity) -> None:
        """That pod has left; with the last one the certificate goes, and its key."""
        held = self.held.get(identity)
        if held is None:
            return
        held.pods -= 1
        if held.pods == 0:
            del self.held[identity]
            held.error = "its pod has left"
            held.tried.set()
            if held.task is not None:
                self.tasks.spawn(cancel({held.task}), f"end of certificate {identity}")

    # ---- what there is

    async def client_context(self, identity: Identity) -> ssl.SSLContext:
        """For connections in its name; raises CertificateError."""
        return (await self.contexts(identity)).client

    async def server_context(self, identity: Identity) -> ssl.SSLContext:
        """For connections to it; raises CertificateError."""
        return (await self.contexts(identity)).server

    async def contexts(self, identity: Identity) -> Contexts:
        """What there is, or what the first attempt brings; raises CertificateError.

        Between attempts it says at once why there is none: whoever waits would hold
        up a client for minutes.
        """
        held = self.held.get(identity)
        if held is None:
            raise CertificateError(f"no pod of ours is {identity}")
        await held.tried.wait()
        if held.contexts is None or held.certificate is None:
            raise CertificateError(f"no certificate for {identity}: {held.error}")
        if held.certificate.ends <= self.clock():
            raise CertificateError(
                f"the certificate for {identity} ended {stamp(held.certificate.ends)} and "
                f"could not be renewed: {held.error or 'renewal is under way'}"
            )
        return held.contexts

    def state(self, held: Held) -> State:
        """Where an identity's certificate stands."""
        certificate = held.certificate
        if certificate is not None and certificate.ends > self.clock():
            return State.AVAILABLE
        return State.UNAVAILABLE if held.tried.is_set() else State.INITIALIZING

    def dump(self) -> list[dict[str, Any]]:
        """The certificates for people, JSON-able; no keys."""
        return [
            {
                "identity": str(identity),
                "state": self.state(held).value,
                "error": held.error,
                "pods": held.pods,
                "certChain": shown(held.certificate.spans if held.certificate else ()),
                "rootCerts": shown(held.certificate.root_spans if held.certificate else ()),
            }
            for identity, held in sorted(self.held.items(), key=lambda item: str(item[0]))
        ]

    # ---- renewal

    async def keep(self, identity: Identity, held: Held) -> None:
        """Fetch and renew until cancelled."""
        backoff = Backoff(RETRY_FIRST, RETRY_MOST, self.draw)
        while True:
            renewed = await self.renew(identity, held)
            now, certificate = self.clock(), held.certificate
            if renewed:
                assert certificate is not None
                backoff.reset()
                moment = renewal(certificate, now, self.draw())
            else:
                moment = now + backoff.next()
                if certificate is not None and now < certificate.ends:
                    # The last attempt is at its end, so that this is said at once.
                    moment = min(moment, certificate.ends)
            await self.until(moment)

    async def renew(self, identity: Identity, held: Held) -> bool:
        """One attempt; whether it brought a certificate."""
        try:
            async with self.turn:
                certificate = await self.fetch(identity)
            contexts = await asyncio.to_thread(make_contexts, certificate)
        except CertificateError as error:
            held.error = str(error)
            self.failures[error.failure] += 1
            self.complain(identity, held)
            return False
        finally:
            held.tried.set()
        renewed = held.certificate is not None
        held.certificate, held.contexts, held.error = certificate, contexts, ""
        self.issued += 1
        logger.info("certificate for %s until %s", identity, stamp(certificate.ends))
        if renewed:
            for follower in self.followers:
                follower(identity)
        return True

    def complain(self, identity: Identity, held: Held) -> None:
        """Say what the failure means."""
        old = held.certificate
        if old is None or old.ends <= self.clock():
            logger.error(
                "no certificate for %s: %s; its tunnels are refused", identity, held.error
            )
        else:
            logger.warning(
                "certificate for %s not renewed: %s; the old one holds until %s",
                identity,
                held.error,
                stamp(old.ends),
            )

    async def until(self, moment: float) -> None:
        """Sleep until a moment, Unix seconds."""
        while (left := moment - self.clock()) > 0:
            await self.sleep(min(left, NAP))


def renewal(certificate: Certificate, now: float, draw: float) -> float:
    """When a new certificate is to be renewed, Unix seconds.

    draw: of [0, 1). One whose half-life has passed already (the clocks differ, or the
    CA keeps certificates) isn't asked for again in a hurry.
    """
    moment = certificate.half - (certificate.half - now) * JITTER * draw
    return max(moment, now + min(GAP, (certificate.ends - now) / 2))


def stamp(seconds: float) -> str:
    """A moment as text."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(spans: Sequence[Span]) -> list[dict[str, str]]:
    """Certificates as ztunnel shows them."""
    return [
        {
            "serialNumber": str(span.serial),
            "validFrom": stamp(span.begins),
            "expirationTime": stamp(span.ends),
        }
        for span in spans
    ]
