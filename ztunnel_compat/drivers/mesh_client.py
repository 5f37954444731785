"""Keeps a WorkloadState and a PolicyState fed from the control plane, for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from ztunnel_compat.decode import decode_address
from ztunnel_compat.drivers.ads_stream import (
    AdsStream,
    NodeInfo,
    StreamEndedError,
    open_stream,
)
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.errors import LoginError, ResourceError, XdsError
from ztunnel_compat.policy import UnusablePolicy
from ztunnel_compat.policy_decode import decode_policy
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.state import Changes, WorkloadState
from ztunnel_compat.xds import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Answer,
    DeltaSession,
    Rejection,
    Request,
)

__all__ = ["MeshClient", "NodeInfo"]

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Resources decoded between two looks at the event loop: about a millisecond.
SLICE = 50
RECONNECT_FIRST = 0.010
#: ztunnel waits up to 15 s. But whoever hears last of a change that others act upon holds
#: them up, and attempts at a server that isn't there cost next to nothing.
RECONNECT_MOST = 2.0


class MeshClient:
    """The mesh's state, as the control plane pushes it.

    A push is decoded piece by piece, then applied at once; on_change gets what
    it made different, before the control plane gets its ACK. synced is set once
    every type was answered in full; it stays set when the connection is lost,
    because what was pushed stays in use. clock: seconds, only ever growing.
    """

    def __init__(
        self,
        *,
        server: Login,
        node: NodeInfo,
        state: WorkloadState,
        on_change: Callable[[Changes], None],
        policies: PolicyState | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.node = node
        self.state = state
        self.policies = PolicyState() if policies is None else policies
        self.on_change = on_change
        self.backoff = backoff or Backoff(RECONNECT_FIRST, RECONNECT_MOST)
        self.clock = clock
        self.session = DeltaSession((ADDRESS_TYPE, AUTHORIZATION_TYPE))
        self.synced = asyncio.Event()
        #: What is to be said on the stream beside answers' acknowledgements.
        self.unsaid: asyncio.Queue[Request] = asyncio.Queue()
        self.connected = False
        self.connected_at = self.heard_before = 0.0
        self.last_end = ""
        self.terminations: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.nacks: Counter[str] = Counter()

    async def run(self) -> None:
        """Stay connected until cancelled; connect again whenever a stream ends."""
        while True:
            reason = await self.attempt()
            self.heard_before = self.heard
            self.connected = False
            delay = self.backoff.next()
            self.terminations[reason] += 1
            logger.warning(
                "xDS stream to %s: %s; again in %.3f s",
                self.server.target,
                self.last_end,
                delay,
            )
            await asyncio.sleep(delay)

    async def attempt(self) -> str:
        """Work on one stream until it ends; why it did, in ztunnel's words."""
        try:
            async with open_stream(self.server, self.node) as stream, Tasks() as tasks:
                self.unsaid = asyncio.Queue()
                for request in self.session.open():
                    await stream.send(request)
                tasks.spawn(self.speak(stream), "what is said on the xDS stream")
                while True:
                    await self.work(stream)
        except StreamEndedError as end:
            self.last_end = str(end)
            if not self.connected:
                return "ConnectionError"
            return "Reconnect" if end.failed else "Complete"
        except LoginError as error:
            self.last_end = str(error)
            return "ConnectionError"
        except XdsError as error:
            self.last_end = str(error)
            return "Error"

    def tell_members(self, members: frozenset[str] | None) -> None:
        """Say which workloads this node serves that are no pods, by their uids.

        None: say no more of it.
        """
        request = self.session.tell_members(members)
        if request is not None:
            self.unsaid.put_nowait(request)

    async def speak(self, stream: AdsStream) -> None:
        """Send what is to be said, until the stream ends; who receives finds out why."""
        with contextlib.suppress(StreamEndedError):
            while True:
                await stream.send(await self.unsaid.get())

    async def work(self, stream: AdsStream) -> None:
        """Receive one answer, apply it, acknowledge it."""
        message, size = await stream.receive()
        self.session.check(message.type_url, message.nonce)
        if not self.connected:
            self.connected = True
            self.connected_at = self.clock()
            logger.info("xDS stream to %s is up as %s", self.server.target, self.node.id)
        self.messages[message.type_url] += 1
        self.bytes[message.type_url] += size
        request = await self.take(message)
        if self.session.answered:
            self.backoff.reset()
        if request.error:
            self.nacks[message.type_url] += 1
            logger.error("rejected of %s: %s", message.type_url, request.error)
        if self.session.complete and not self.synced.is_set():
            logger.info("complete: %d addresses", self.session.held(ADDRESS_TYPE))
            self.synced.set()
        await stream.send(request)

    async def take(self, message: Any) -> Request:
        """Decode and apply an answer; the ACK or NACK."""
        if message.type_url == AUTHORIZATION_TYPE:
            return await self.take_policies(message)
        updated, answer = await digest(message, decode_address)
        changes = self.state.apply(updated, answer.removed)
        request = self.session.conclude(answer)
        if changes:
            self.on_change(changes)
        return request

    async def take_policies(self, message: Any) -> Request:
        """Decode and apply an answer of policies; bad ones are applied too."""
        decoded, answer = await digest(message, decode_policy)
        strangers = [UnusablePolicy(r.name, None, r.reason) for r in answer.rejected]
        changed, rejected = self.policies.apply([*decoded, *strangers], answer.removed)
        bad = {rejection.name for rejection in rejected}
        good = {name: v for name, v in answer.accepted.items() if name not in bad}
        request = self.session.conclude(replace(answer, accepted=good, rejected=rejected))
        if changed:
            self.on_change(Changes(policies=changed))
        return request

    @property
    def heard(self) -> float:
        """For how many seconds the control plane was heard, on all streams together."""
        return self.heard_before + self.connected * (self.clock() - self.connected_at)

    def status(self) -> dict[str, Any]:
        """The connection and its counters since the start, JSON-able."""
        return {
            "target": self.server.target,
            "node": self.node.id,
            "connected": self.connected,
            "synced": self.synced.is_set(),
            "last_end": self.last_end,
            "terminations": dict(self.terminations),
            "types": {
                type_url: {
                    "held": self.session.held(type_url),
                    "rejected": dict(self.session.rejected(type_url)),
                    "messages": self.messages[type_url],
                    "bytes": self.bytes[type_url],
                    "nacks": self.nacks[type_url],
                }
                for type_url in self.session.subscriptions
            },
        }


async def digest(message: Any, decode: Callable[[str, bytes], T]) -> tuple[list[T], Answer]:
    """Decode an answer's resources: the good ones, and the answer for the session.

    Looks at the event loop in between: a push of a whole mesh would otherwise
    hold up everything else for seconds.
    """
    decoded = []
    accepted = {}
    rejected = []
    for number, resource in enumerate(message.resources, start=1):
        content = resource.resource
        try:
            if content.type_url != message.type_url:
                raise ResourceError(f"holds {content.type_url!r}")
            decoded.append(decode(resource.name, content.value))
            accepted[resource.name] = resource.version
        except ResourceError as error:
            rejected.append(Rejection(resource.name, str(error)))
        if number % SLICE == 0:
            await asyncio.sleep(0)
    removed = tuple(message.removed_resources)
    return decoded, Answer(message.type_url, message.nonce, accepted, rejected, removed)
