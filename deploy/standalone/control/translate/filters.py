"""What stands before a service's routes, as Envoy's HttpConnectionManager.

Each sort of filter is made by a module of its own, from the objects that ask for it;
here they get their order, which is Istio's: who asks is found out first, then whether
they may, and only what may go on is counted, delayed or changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.standalone.control.extensionapi import ConfigPatch
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.attached import Attachments
from deploy.standalone.control.translate.authorization import find_authorization
from deploy.standalone.control.translate.custom import find_custom
from deploy.standalone.control.translate.envoyfilters import (
    Bench,
    Meant,
    apply_envoy_filters,
    in_order,
)
from deploy.standalone.control.translate.faults import complete, find_faults
from deploy.standalone.control.translate.frontends import Frontends
from deploy.standalone.control.translate.managers import (
    Place,
    asks_more,
    manager,
    places_of,
)
from deploy.standalone.control.translate.merging import merge
from deploy.standalone.control.translate.plugins import (
    authn_plugins,
    authz_plugins,
    last_plugins,
    stats_plugins,
)
from deploy.standalone.control.translate.sight import Found, Sight
from deploy.standalone.control.translate.targets import find_targeted
from deploy.standalone.control.translate.tokens import find_tokens
from deploy.standalone.control.world import Name, World

Maker = Callable[[Sight], Found]

#: In the order in which a request meets them.
MAKERS: tuple[Maker, ...] = (
    authn_plugins,
    find_tokens,
    authz_plugins,
    find_custom,
    find_authorization,
    stats_plugins,
    last_plugins,
    find_faults,
)


@dataclass(frozen=True, slots=True)
class Filters:
    """HttpConnectionManagers by service and port, the RouteConfigurations that EnvoyFilters
    changed, and their patches of a service's clusters; what is wrong. access: as by_key,
    filters for bytes; held: what attached policies hold for.
    """

    by_key: Mapping[Name, Mapping[int, Any]]
    routes: Mapping[Name, Mapping[int, Any]]
    clusters: Mapping[Name, tuple[ConfigPatch, ...]]
    access: Mapping[Name, Mapping[int, tuple[Any, ...]]]
    held: Mapping[Name, tuple[str, ...]]
    problems: tuple[Problem, ...]


def find_filters(world: World, frontends: Frontends, attachments: Attachments) -> Filters:
    """The filters of each service's port that has any."""
    sight = Sight(world, frontends, attachments)
    rows: dict[Name, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for make in MAKERS:
        for key, ports in make(sight).items():
            for port, made in ports.items():
                rows[key][port] += made
    bench = patch(sight, rows)
    complete(rows, bench.routes)
    managers: dict[Name, dict[int, Any]] = defaultdict(dict)
    asked = (rows, bench.managers)
    filtered = {Place(key, port): None for each in asked for key in each for port in each[key]}
    for place, waypoint in (filtered | places_of(world, frontends)).items():
        row = rows[place.key][place.port]
        bounds = bench.managers.get(place.key, {}).get(place.port)
        if row or bounds is not None or asks_more(waypoint, world):
            made = managers[place.key][place.port] = manager(place, row, waypoint, world)
            if bounds is not None:
                merge(made, bounds)
    return Filters(
        managers,
        bench.routes,
        {key: tuple(patches) for key, patches in bench.clusters.items()},
        {
            key: {port: tuple(made) for port, made in ports.items()}
            for key, ports in sight.network.items()
        },
        {name: tuple(held) for name, held in sight.held.items()},
        tuple(sight.problems),
    )


def patch(sight: Sight, rows: dict[Name, dict[int, list[Any]]]) -> Bench:
    """Have EnvoyFilters change the rows of filters; what else they changed."""
    meant = []
    for each in in_order(sight.world.envoy_filters):
        if not each.targets:
            sight.problems.append(
                each.origin.notice(
                    "spec.targetRefs",
                    "without effect: without them it is for sidecars and gateways only; name "
                    "a Service, ServiceEntry or Gateway",
                )
            )
            continue
        found = find_targeted(each.targets, each.namespace, sight)
        meant.append(Meant(each, found.frontends, tuple(found.gateways.values())))
    bench = Bench(rows, sight.attachments.http, sight.problems)
    apply_envoy_filters(meant, bench)
    for key, ports in bench.filters.items():
        rows[key] |= ports
    return bench
