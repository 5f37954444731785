"""The delta-ADS client as a state machine without I/O.

A session outlives its streams. Whoever drives it sends what ``open`` returns
when a stream begins, and for every answer calls ``check``, decodes what came,
and sends what ``conclude`` returns:

    open      → one Request per type: subscribe to all of it, here is what I hold
    check     answer of a type that isn't subscribed, or without nonce → XdsError
    conclude  nothing rejected → ACK: nonce
              something rejected → NACK: nonce and error; the rest is in use

Neither ACK nor NACK ever changes a subscription. A resource leaves only when
the server says so (removed_resources), after a reconnect too: that is why even
types without versions (Authorization) tell the server every name they hold.

A policy that is rejected has an effect (``policy_state``): what it selects fails
closed. So its name is told as held, that its removal is heard of, and no policy
keeps the session from being complete.

A node agent also says which members it serves (``tell_members``): by subscribing to
them, under a type that brings no answers. A server that doesn't know it ignores it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ztunnel_compat.errors import XdsError

ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
#: Names are uids of workloads whose processes a node agent took in by their cgroup, and
#: whose tunnels it serves.
MEMBERS_TYPE = "type.googleapis.com/tandem.Members"

#: A NACK is read by people: it explains this many resources and counts the rest.
MAX_REJECTIONS_TOLD = 100
NO_VERSIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest: the first of a type on a stream, an ACK or a NACK.

    initial_versions: name → version of what is held, on the first one only.
    error: a NACK's reason; empty otherwise. subscribe, unsubscribe: names, of members.
    """

    type_url: str
    initial_versions: Mapping[str, str] = field(default_factory=lambda: NO_VERSIONS)
    nonce: str = ""
    error: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that can't be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A DeltaDiscoveryResponse after its resources were decoded.

    accepted: name → version of the resources that are good.
    """

    type_url: str
    nonce: str
    accepted: Mapping[str, str] = field(default_factory=lambda: NO_VERSIONS)
    rejected: Sequence[Rejection] = ()
    removed: Sequence[str] = ()


@dataclass(slots=True)
class Subscription:
    """What is known of one type.

    versions: of the resources in use, name → version. A rejected new one isn't
    in here, so the server sends it again after a reconnect; a rejected update
    leaves the version that is still in use, so the server still tells when the
    resource goes. answered: on the current stream.
    """

    versions: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    answered: bool = False


class DeltaSession:
    """Wildcard subscriptions to some types, across any number of streams."""

    def __init__(self, type_urls: Iterable[str]) -> None:
        self.subscriptions = {type_url: Subscription() for type_url in type_urls}
        #: The members that are served; None: that isn't known yet, and nothing is said.
        self.members: frozenset[str] | None = None

    def open(self) -> tuple[Request, ...]:
        """The requests that begin a stream; they name no resource: that means all.

        But for members: no name means that none is served.
        """
        for subscription in self.subscriptions.values():
            subscription.answered = False
        subscriptions = tuple(
            Request(type_url, MappingProxyType(self.told(type_url)))
            for type_url in self.subscriptions
        )
        if self.members is None:
            return subscriptions
        return (*subscriptions, Request(MEMBERS_TYPE, subscribe=tuple(sorted(self.members))))

    def tell_members(self, members: frozenset[str] | None) -> Request | None:
        """These are served from now on; what to send on an open stream, if anything.

        None: somebody else speaks for the node, and what was said last holds.
        """
        before, self.members = self.members, members
        if members is None or before == members:
            return None
        known = before or frozenset()
        return Request(
            MEMBERS_TYPE,
            subscribe=tuple(sorted(members - known)),
            unsubscribe=tuple(sorted(known - members)),
        )

    def told(self, type_url: str) -> dict[str, str]:
        """The versions to tell the server on a new stream."""
        subscription = self.subscriptions[type_url]
        if type_url != AUTHORIZATION_TYPE:
            return dict(subscription.versions)
        return dict.fromkeys(subscription.rejected, "") | subscription.versions

    def check(self, type_url: str, nonce: str) -> None:
        """See that an answer can be worked on; raises XdsError."""
        if type_url not in self.subscriptions:
            raise XdsError(f"an answer of type {type_url!r}, which is not subscribed")
        if not nonce:
            raise XdsError(f"an answer of type {type_url} without a nonce")

    def conclude(self, answer: Answer) -> Request:
        """Take note of an answer that has been applied; the ACK or NACK to send."""
        self.check(answer.type_url, answer.nonce)
        subscription = self.subscriptions[answer.type_url]
        for name in answer.removed:
            subscription.versions.pop(name, None)
            subscription.rejected.pop(name, None)
        for name, version in answer.accepted.items():
            subscription.versions[name] = version
            subscription.rejected.pop(name, None)
        for rejection in answer.rejected:
            subscription.rejected[rejection.name] = rejection.reason
        subscription.answered = True
        return Request(answer.type_url, nonce=answer.nonce, error=reasons(answer.rejected))

    @property
    def answered(self) -> bool:
        """Whether every type was answered on the current stream."""
        return all(s.answered for s in self.subscriptions.values())

    @property
    def complete(self) -> bool:
        """Whether every type was answered and none but policies is rejected right now."""
        return self.answered and not any(
            subscription.rejected
            for type_url, subscription in self.subscriptions.items()
            if type_url != AUTHORIZATION_TYPE
        )

    def held(self, type_url: str) -> int:
        """How many resources of this type are in use."""
        return len(self.subscriptions[type_url].versions)

    def rejected(self, type_url: str) -> Mapping[str, str]:
        """The resources whose last version was rejected: name → reason."""
        return MappingProxyType(self.subscriptions[type_url].rejected)


def reasons(rejected: Sequence[Rejection]) -> str:
    """A NACK's text: a line per rejected resource; empty when there is none."""
    lines = [str(rejection) for rejection in rejected[:MAX_REJECTIONS_TOLD]]
    if len(rejected) > len(lines):
        lines.append(f"and {len(rejected) - len(lines)} more")
    return "\n".join(lines)
