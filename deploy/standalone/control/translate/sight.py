"""What makers of filters look at, and what they give."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.attached import Attachments
from deploy.standalone.control.translate.frontends import Frontends
from deploy.standalone.control.world import Name, World

#: In a port's place: connections to workloads' own addresses, under the waypoint's service.
PODS = 0
POD_FILTERS = "inbound-pod|filters"

#: By namespace and hostname, then by port: HttpFilters in order.
Found = dict[Name, dict[int, list[Any]]]


@dataclass(slots=True)
class Sight:
    """What makers of filters look at.

    problems: what they find wrong; network: as Found, but for bytes; held: by the name of
    an AuthorizationPolicy, what it holds for, in words.
    """

    world: World
    frontends: Frontends
    attachments: Attachments
    problems: list[Problem] = field(default_factory=list)
    network: dict[Name, dict[int, list[Any]]] = field(default_factory=lambda: defaultdict(dict))
    held: dict[Name, list[str]] = field(default_factory=lambda: defaultdict(list))


def http_filter(name: str, config: Any) -> Any:
    """One HttpFilter."""
    made = pb.HttpFilter(name=name)
    made.typed_config.Pack(config, deterministic=True)
    return made
