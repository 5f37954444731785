"""What stands before a service's routes, as Envoy's HttpConnectionManager.

Each sort of filter is made by a module of its own, from the objects that ask for it;
here they get their order, which is Istio's: who asks is found out first, then whether
they may, and only what may go on is counted, delayed or changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.attached import Attachments
from deploy.standalone.control.translate.frontends import Frontends
from deploy.standalone.control.world import Name, World

#: By namespace and hostname, then by port: HttpFilters in order.
Found = dict[Name, dict[int, list[Any]]]


@dataclass(slots=True)
class Sight:
    """What makers of filters look at; problems: what they find wrong."""

    world: World
    frontends: Frontends
    attachments: Attachments
    problems: list[Problem] = field(default_factory=list)


Maker = Callable[[Sight], Found]

#: In the order in which a request meets them.
MAKERS: tuple[Maker, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """HttpConnectionManagers by service and port; what is wrong."""

    by_key: Mapping[Name, Mapping[int, Any]]
    problems: tuple[Problem, ...]


def filters_name(port: int, hostname: str) -> str:
    """The name of a service port's filters."""
    return f"inbound-vip|{port}|filters|{hostname}"


def find_filters(world: World, frontends: Frontends, attachments: Attachments) -> Filters:
    """The filters of each service's port that has any."""
    sight = Sight(world, frontends, attachments)
    managers: dict[Name, dict[int, Any]] = defaultdict(dict)
    for make in MAKERS:
        for key, ports in make(sight).items():
            for port, made in ports.items():
                name = filters_name(port, key[1])
                manager = managers[key].setdefault(
                    port, pb.HttpConnectionManager(stat_prefix=name)
                )
                manager.http_filters.extend(made)
    return Filters(managers, tuple(sight.problems))


def http_filter(name: str, config: Any) -> Any:
    """One HttpFilter."""
    made = pb.HttpFilter(name=name)
    made.typed_config.Pack(config, deterministic=True)
    return made
