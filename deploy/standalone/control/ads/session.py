"""One client's delta xDS stream as a state machine: no I/O, no clock.

Per type there is at most one response that isn't acknowledged; what changes
meanwhile is remembered by name only. So a slow client costs no memory, and gets
the newest version when it is ready for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from deploy.standalone.control.translate.resources import TYPES, Content
from ztunnel_compat.xds import MEMBERS_TYPE

WILDCARD = "*"
#: Names that a client may subscribe to, of each type; further ones are refused.
MAX_NAMES = 100_000
#: As many as a node can enrol (bpf/knobs.py).
MAX_MEMBERS = 1024
NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})


@dataclass(slots=True)
class Subscription:
    """A client's subscription to one type.

    held: name → version, as the client has it, or will once it acknowledges; due:
    names to compare with the content; asked: of those, the ones that are answered
    even when they don't exist; owes: an answer is due although it may be empty.
    """

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    everything: bool = False
    owes: bool = True
    awaiting: str = ""
    sent: int = 0
    acked: str = ""
    rejection: str = ""

    def wants(self, name: str) -> bool:
        """Whether the client is told of this resource."""
        return self.wildcard or name in self.names


class DeltaSession:
    """One stream. Notes are what an operator should read, as text."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, Subscription] = {}
        #: What a node's agent says that it serves; it gets no answer.
        self.members: set[str] = set()
        self.unknown: set[str] = set()

    # ---- requests

    def receive(self, request: Any) -> list[str]:
        """Take a DeltaDiscoveryRequest; what to log about it."""
        url = request.type_url
        if url == MEMBERS_TYPE:
            return self.name_members(request)
        if url not in TYPES:
            return self.refuse(url)
        notes = []
        subscription = self.subscriptions.get(url)
        first = subscription is None
        if subscription is None:
            subscription = self.subscriptions[url] = Subscription()
            subscription.held.update(request.initial_resource_versions)
        elif request.response_nonce:
            notes += self.acknowledge(subscription, request)
        self.subscribe(subscription, request.resource_names_subscribe, first=first)
        if first and not request.resource_names_subscribe:
            subscription.wildcard = subscription.everything = True
        self.unsubscribe(subscription, request.resource_names_unsubscribe)
        if len(subscription.names) > MAX_NAMES:
            notes.append(f"more than {MAX_NAMES} names of {url}: some are not served")
            excess = sorted(subscription.names)[MAX_NAMES:]
            self.unsubscribe(subscription, excess)
        return notes

    def name_members(self, request: Any) -> list[str]:
        """Take what is served from now on, and what isn't."""
        self.members.update(request.resource_names_subscribe)
        self.members.difference_update(request.resource_names_unsubscribe)
        excess = sorted(self.members)[MAX_MEMBERS:]
        self.members.difference_update(excess)
        return [f"names more than {MAX_MEMBERS} members: some don't count"] if excess else []

    def refuse(self, url: str) -> list[str]:
        """A type that isn't served gets no answer, and one line in the log."""
        if url in self.unknown or len(self.unknown) >= len(TYPES) * 8:
            return []
        self.unknown.add(url)
        return [f"asks for {url!r}, which is not served: ignored"]

    @staticmethod
    def acknowledge(subscription: Subscription, request: Any) -> list[str]:
        """Take an ACK or NACK. One for another response than the last is stale."""
        if request.response_nonce != subscription.awaiting:
            return []
        subscription.awaiting = ""
        if not request.HasField("error_detail"):
            subscription.acked = request.response_nonce
            subscription.rejection = ""
            return []
        # What was sent counts as held: sending it again would be rejected again.
        subscription.rejection = request.error_detail.message or "no reason given"
        return [f"rejected of {request.type_url}: {subscription.rejection}"]

    @staticmethod
    def subscribe(subscription: Subscription, names: Iterable[str], *, first: bool) -> None:
        """Add names. A name that is asked for again is sent again, as xDS has it."""
        for name in names:
            if name == WILDCARD:
                subscription.wildcard = subscription.everything = True
                continue
            subscription.names.add(name)
            subscription.due.add(name)
            subscription.asked.add(name)
            if not first:
                subscription.held.pop(name, None)

    @staticmethod
    def unsubscribe(subscription: Subscription, names: Iterable[str]) -> None:
        """Drop names; what isn't wanted any more is no longer tracked."""
        dropped = set(names)
        if not dropped:
            return
        if WILDCARD in dropped:
            subscription.wildcard = subscription.everything = False
        subscription.names -= dropped
        if subscription.wildcard:
            return
        for name in [n for n in subscription.held if n not in subscription.names]:
            del subscription.held[name]
        subscription.due &= subscription.names
        subscription.asked &= subscription.names

    # ---- responses

    def changed(self, url: str, names: Collection[str]) -> None:
        """Say that resources of a type are new, different or gone."""
        subscription = self.subscriptions.get(url)
        if subscription is None:
            return
        if subscription.wildcard:
            subscription.due.update(names)
        else:
            subscription.due.update(subscription.names.intersection(names))

    def has(self, url: str, name: str, version: str) -> bool:
        """Whether the client has said that it has taken this version of a resource."""
        subscription = self.subscriptions.get(url)
        return (
            subscription is not None
            and not subscription.awaiting
            and subscription.held.get(name) == version
        )

    def responses(
        self, contents: Mapping[str, Content], later: Mapping[str, Collection[str]] = NOTHING
    ) -> list[Any]:
        """The DeltaDiscoveryResponses that are due now. contents: by type.

        later: by type, names whose content isn't for this client yet; they stay due.
        """
        found = []
        for url, subscription in self.subscriptions.items():
            content, kept = contents.get(url, {}), later.get(url, ())
            response = self.respond(url, subscription, content, kept)
            if response is not None:
                found.append(response)
        return found

    @staticmethod
    def respond(
        url: str, subscription: Subscription, content: Content, later: Collection[str]
    ) -> Any | None:
        """The response that a subscription is due, or None."""
        if subscription.awaiting:
            return None
        names = subscription.due
        if subscription.everything:
            names = names | content.keys() | subscription.held.keys()
        kept = names.intersection(later) & content.keys()
        if kept and subscription.owes and not subscription.held:
            # A client that has nothing takes what it isn't told of for gone.
            return None
        response = DeltaDiscoveryResponse(type_url=url)
        for name in sorted(names - kept):
            resource = content.get(name) if subscription.wants(name) else None
            if resource is None:
                if name in subscription.held or name in subscription.asked:
                    subscription.held.pop(name, None)
                    response.removed_resources.append(name)
            elif subscription.held.get(name) != resource.version:
                subscription.held[name] = resource.version
                response.resources.append(resource.message)
        subscription.due = kept
        subscription.asked &= kept
        subscription.everything = False
        if not subscription.owes and not response.resources and not response.removed_resources:
            return None
        subscription.owes = False
        subscription.sent += 1
        response.nonce = subscription.awaiting = str(subscription.sent)
        return response

    def status(self) -> dict[str, Any]:
        """Each type's state, JSON-able."""
        return {
            url: {
                "wildcard": subscription.wildcard,
                "names": len(subscription.names),
                "held": len(subscription.held),
                "nonce": str(subscription.sent) if subscription.sent else "",
                "acked": subscription.acked,
                "nacked": subscription.rejection,
            }
            for url, subscription in self.subscriptions.items()
        }
