"""The backends that rules name, looked up."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.standalone.control.gatewayapi import HttpRoute, StreamRoute
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.routing import BackendRef, RouteRule
from deploy.standalone.control.trafficapi import VirtualService
from deploy.standalone.control.translate.attached import (
    INVALID_DOMAIN,
    AttachedRule,
    Share,
    cluster_name,
)
from deploy.standalone.control.translate.destinations import Destinations, full_name
from deploy.standalone.control.translate.frontends import Frontend, Frontends
from deploy.standalone.control.world import World

Owner = HttpRoute | StreamRoute | VirtualService


@dataclass(frozen=True, slots=True)
class Lookup:
    """What backends are looked up in. problems: grows."""

    world: World
    frontends: Frontends
    destinations: Destinations
    problems: list[Problem] = field(default_factory=list)

    def rule(self, owner: Owner, index: int, rule: RouteRule, port: int) -> AttachedRule:
        """A rule with its shares; port: that requests came to."""
        mirrors = (
            (self.share(owner, mirror.backend, port, "its copies go nowhere"), mirror.share)
            for mirror in rule.mirrors
        )
        return AttachedRule(
            name=f"{owner.namespace}.{owner.name}.{rule.name or index}",
            rule=rule,
            shares=self.shares(owner, rule.backends, port),
            mirrors=tuple((share.cluster, part) for share, part in mirrors if share.valid),
        )

    def shares(
        self, owner: Owner, backends: tuple[BackendRef, ...], port: int
    ) -> tuple[Share, ...]:
        """The shares of backends."""
        failure = (
            "its share of the connections fails"
            if isinstance(owner, StreamRoute)
            else "its share of the requests fails"
        )
        return tuple(self.share(owner, backend, port, failure) for backend in backends)

    def share(self, owner: Owner, backend: BackendRef, port: int, failure: str) -> Share:
        """One share; what is wrong with it is reported. failure: what comes of that."""
        frontend = self.frontends.find(backend.host, backend.namespace)
        number = backend.port or only_port(frontend) or port
        reason = self.refusal(owner, backend, frontend, number)
        if reason:
            self.problems.append(backend.origin.error(backend.path, f"{reason}: {failure}"))
        host = f"{backend.host}.{INVALID_DOMAIN}" if reason else backend.host
        found = self.destinations.by_key.get(frontend.key) if frontend else None
        return Share(
            cluster=cluster_name(number, host, backend.subset),
            weight=backend.weight,
            valid=not reason,
            edits=backend.edits,
            authority=backend.authority,
            hashing=found.hashing(number, backend.subset) if found and not reason else None,
        )

    def refusal(
        self, owner: Owner, backend: BackendRef, frontend: Frontend | None, number: int
    ) -> str:
        """Why a backend can't be used; empty when it can.

        A Gateway API route needs a ReferenceGrant for another namespace's Service;
        without one, nothing is said of whether it exists.
        """
        if backend.kind == "Service" and backend.namespace != owner.namespace:
            grants = self.world.grants.get(backend.namespace, ())
            kind = owner.key.kind
            if not any(g.allows(kind, owner.namespace, backend.name) for g in grants):
                return (
                    f"no ReferenceGrant in {backend.namespace} lets {kind}s of "
                    f"{owner.namespace} name Service {backend.name}"
                )
        if frontend is None:
            if backend.kind == "Service":
                return f"there is no Service {backend.namespace}/{backend.name}"
            return f"there is no service {backend.host}{full_name(backend.host)}"
        if frontend.port(number) is None:
            return f"{frontend} has no port {number}"
        if backend.subset:
            found = self.destinations.by_key.get(frontend.key)
            if found is None or backend.subset not in found.subsets:
                return (
                    f"no DestinationRule that holds for {backend.host} has a subset "
                    f"{backend.subset}"
                )
        return ""


def only_port(frontend: Frontend | None) -> int:
    """The port of a service that has one; 0 otherwise."""
    return frontend.ports[0].port if frontend and len(frontend.ports) == 1 else 0
