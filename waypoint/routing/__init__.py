"""Routing decisions: pure functions of values, with Envoy's semantics.

RouteTable  a RouteConfiguration: VirtualHosts by domain, each with its Routes
Match       what a route asks of a Request, its Source and a drawn number
Action      Forward to weighted clusters, Redirect, or DirectResponse
Edits       headers removed and added by one level of the configuration
Template    a header's value with commands in it; Facts: what they may tell
Affinity    what keeps a client with an endpoint; Cors: what browsers are told
rewritten   the request as its endpoint gets it; edited: the response as its client
            does; mirrored: a copy; redirection, preflight: answers of our own
"""

from waypoint.routing.actions import (
    Action,
    DirectResponse,
    Forward,
    Mirror,
    Redirect,
    WeightedCluster,
)
from waypoint.routing.applied import edited, mirrored, rewritten
from waypoint.routing.cors import Cors, cors_fields, preflight
from waypoint.routing.hashing import Affinity, HashPolicy, affinity
from waypoint.routing.redirects import redirection
from waypoint.routing.source import NOBODY, Source
from waypoint.routing.table import (
    Route,
    RouteTable,
    VirtualHost,
    default_table,
    dump_table,
)
from waypoint.routing.templates import NO_FACTS, Facts

__all__ = [
    "NOBODY",
    "NO_FACTS",
    "Action",
    "Affinity",
    "Cors",
    "DirectResponse",
    "Facts",
    "Forward",
    "HashPolicy",
    "Mirror",
    "Redirect",
    "Route",
    "RouteTable",
    "Source",
    "VirtualHost",
    "WeightedCluster",
    "affinity",
    "cors_fields",
    "default_table",
    "dump_table",
    "edited",
    "mirrored",
    "preflight",
    "redirection",
    "rewritten",
]
