"""VirtualServices and the services that their hosts mean.

One in a service's own namespace is for everyone that it is exported to; one in another
namespace is for that namespace's requests only, so that nobody routes what others ask.
Where several mean one service, the most specific host counts, then the first by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.standalone.control.problems import Problem
from deploy.standalone.control.routing import StreamRule
from deploy.standalone.control.trafficapi import VirtualService
from deploy.standalone.control.translate.attached import Chain, Share, cluster_name
from deploy.standalone.control.translate.backends import Lookup
from deploy.standalone.control.translate.destinations import full_name
from deploy.standalone.control.translate.frontends import (
    WILDCARD,
    Frontend,
    Frontends,
    specificity,
)
from deploy.standalone.control.world import Name


@dataclass(frozen=True, slots=True)
class Claim:
    """A VirtualService that is for a service. path: of the host that means it."""

    service: VirtualService
    frontend: Frontend
    host: str
    path: str
    namespaces: tuple[str, ...]


def claims(
    services: Sequence[VirtualService], frontends: Frontends, problems: list[Problem]
) -> list[Claim]:
    """Those that count, in order; what is wrong with the others is added to problems."""
    made: dict[tuple[Name, tuple[str, ...]], list[Claim]] = defaultdict(list)
    for service in services:
        for index, host in enumerate(service.hosts):
            path = f"spec.hosts[{index}]"
            found = frontends.matching(host)
            if not found:
                hint = full_name(host)
                problems.append(
                    service.origin.notice(
                        path, f"without effect: there is no service {host}{hint}"
                    )
                )
            for frontend in found:
                claim = claim_of(service, frontend, host, path)
                if claim:
                    made[(frontend.key, claim.namespaces)].append(claim)
            report_unserved(service, path, host, found, problems)
    winners = []
    for group in made.values():
        first, *others = sorted(group, key=lambda claim: specificity(claim.host))
        winners.append(first)
        for claim in others:
            exact = not claim.host.startswith(WILDCARD)
            if claim.service.key != first.service.key and exact:
                winner = first.service
                problems.append(
                    claim.service.origin.error(
                        claim.path,
                        f"{claim.host} is VirtualService {winner.namespace}/{winner.name}'s "
                        "already, which counts: write the routes into one",
                    )
                )
    return winners


def claim_of(service: VirtualService, frontend: Frontend, host: str, path: str) -> Claim | None:
    """Whose requests to a service a VirtualService is for; None for nobody's."""
    if service.namespace == frontend.namespace:
        return Claim(service, frontend, host, path, service.visible)
    if service.visible and service.namespace not in service.visible:
        return None
    return Claim(service, frontend, host, path, (service.namespace,))


def report_unserved(
    service: VirtualService,
    path: str,
    host: str,
    found: list[Frontend],
    problems: list[Problem],
) -> None:
    """Report a host that no waypoint serves."""
    if found and not any(frontend.waypoint for frontend in found):
        problems.append(
            service.origin.notice(
                path,
                f"no waypoint serves {host}: label its Service, or namespace, "
                "istio.io/use-waypoint",
            )
        )


def streams_of(
    service: VirtualService, frontend: Frontend, port: int, lookup: Lookup, *, tls: bool
) -> tuple[Chain, ...]:
    """The tls and tcp rules at a port, in order; then the service itself for the rest."""
    rules: list[StreamRule] = []
    if tls:
        rules += [rule for rule in service.tls if rule.port in {0, port}]
    rules += [rule for rule in service.tcp if rule.port in {0, port}]
    if not rules:
        return ()
    chains: list[Chain] = []
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        names = tuple(name for name in rule.names or ("",) if name not in seen)
        seen.update(names)
        if names:
            chains.append(
                Chain(
                    f"{service.namespace}.{service.name}.{index}",
                    () if names == ("",) else names,
                    lookup.shares(service, rule.backends, port),
                )
            )
    if "" not in seen:
        own = Share(cluster_name(port, frontend.hostname), 1)
        chains.append(Chain("default", (), (own,)))
    return tuple(chains)
