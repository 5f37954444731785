"""HttpConnectionManagers: what waypoints do with requests before and beside filters."""

from __future__ import annotations

from typing import Any, NamedTuple

from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from deploy.standalone.control.extensionapi import PathNormalization
from deploy.standalone.control.translate.frontends import HTTP, Frontends
from deploy.standalone.control.translate.sight import POD_FILTERS, PODS
from deploy.standalone.control.world import Name, World

#: What waypoints do without being told.
USUAL = {PathNormalization.DEFAULT, PathNormalization.BASE}
#: What makes one slash of several.
MERGING = {PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES}


class Place(NamedTuple):
    """A port of a service, by namespace and hostname; or PODS of a waypoint's."""

    key: Name
    port: int


def filters_name(port: int, hostname: str) -> str:
    """The name of a service port's filters."""
    return POD_FILTERS if port == PODS else f"inbound-vip|{port}|filters|{hostname}"


def places_of(world: World, frontends: Frontends) -> dict[Place, Name | None]:
    """Where requests come to a waypoint, and to which."""
    found: dict[Place, Name | None] = {
        Place(each.key, port): each.waypoint
        for each in frontends.by_key.values()
        if each.waypoint is not None
        for port in each.speaking(HTTP)
    }
    for name in world.gateways:
        service = world.services[name]
        found[Place((service.namespace, service.hostname), PODS)] = name
    return found


def asks_more(waypoint: Name | None, world: World) -> bool:
    """Whether a waypoint is to do more than what it does by itself."""
    return tells_client(waypoint, world) or path_normalization(world) not in USUAL


def manager(place: Place, row: list[Any], waypoint: Name | None, world: World) -> Any:
    """The HttpConnectionManager of a place, with a row of filters."""
    made = pb.HttpConnectionManager(
        stat_prefix=filters_name(place.port, place.key[1]), http_filters=row
    )
    paths = path_normalization(world)
    made.normalize_path.value = paths is not PathNormalization.NONE
    made.merge_slashes = paths in MERGING
    if paths is PathNormalization.DECODE_AND_MERGE_SLASHES:
        made.path_with_escaped_slashes_action = pb.HttpConnectionManager.UNESCAPE_AND_FORWARD
    if tells_client(waypoint, world):
        made.forward_client_cert_details = pb.HttpConnectionManager.SANITIZE_SET
        made.set_current_client_cert_details.uri = True
    return made


def tells_client(waypoint: Name | None, world: World) -> bool:
    """Whether a waypoint's Gateway asks for the client's identity in XFCC."""
    gateway = world.gateways.get(waypoint) if waypoint is not None else None
    return gateway is not None and gateway.client_identity


def path_normalization(world: World) -> PathNormalization:
    """How waypoints read paths."""
    return world.mesh.paths if world.mesh is not None else PathNormalization.DEFAULT
