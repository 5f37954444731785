"""Bounds of requests that EnvoyFilters set in a port's HttpConnectionManager."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as pb,
)

from tests.deploy.standalone.control.helpers import Mesh, complaints
from tests.deploy.standalone.control.translate.test_envoyfilters import (
    SUB,
    WEB,
    carried,
    envoy_filter,
    mesh_of,
    on_filters,
)
from tests.waypoint.mesh import hostname, running
from tests.waypoint.mesh import service as serving
from tests.waypoint.wire import client, upstream
from waypoint.filters.decode import TYPE_URL, decode_chain
from waypoint.filters.kinds import KINDS
from waypoint.routing.defaults import Defaults
from ztunnel_compat.model import Extension

MANAGER = "envoy.filters.network.http_connection_manager"
FULL = f"type.googleapis.com/{pb.HttpConnectionManager.DESCRIPTOR.full_name}"
LISTENER = f"listener: {{filterChain: {{filter: {{name: {MANAGER}}}}}}}"


def bounds(said: str, match: str = LISTENER, name: str = MANAGER) -> str:
    """A patch of the manager; said: its fields, in flow style."""
    value = f'{{name: {name}, typed_config: {{"@type": {FULL}, {said}}}}}'
    patch = f"{{operation: MERGE, value: {value}}}"
    return f"{{applyTo: NETWORK_FILTER, match: {{{match}}}, patch: {patch}}}"


def manager(mesh: Mesh, of: str = "web") -> pb.HttpConnectionManager:
    found = carried(mesh, "filters", pb.HttpConnectionManager(), of)
    assert isinstance(found, pb.HttpConnectionManager)
    return found


def test_bounds_are_a_port_s_and_later_ones_count() -> None:
    mesh = mesh_of(
        envoy_filter(
            on_filters("ADD", "a"),
            bounds("stream_idle_timeout: 5s, request_timeout: 1s"),
            bounds("stream_idle_timeout: 7s, max_request_headers_kb: 8"),
            bounds("request_timeout: 9s", "waypoint: {portNumber: 81}"),
        )
    )
    made = manager(mesh)
    assert [each.name for each in made.http_filters] == ["a"]
    assert made.normalize_path.value
    found = decode_chain(made.SerializeToString(), KINDS)
    assert found.defaults == Defaults(idle_timeout=7.0, request_timeout=1.0)
    assert found.admission.head is not None
    assert found.admission.head.size == 8192
    assert not manager(mesh, "api").ByteSize()
    (told,) = [p for p in mesh.view.problems if "matches nothing" in p.message]
    assert told.field == "spec.configPatches[3]"


def test_a_port_without_filters_may_have_bounds() -> None:
    common = "common_http_protocol_options: {max_stream_duration: 3s, max_headers_count: 9}"
    mesh = mesh_of(envoy_filter(bounds(common, "context: WAYPOINT")))
    found = decode_chain(manager(mesh).SerializeToString(), KINDS)
    assert found.defaults == Defaults(stream_limit=3.0)
    assert found.admission.head is not None
    assert found.admission.head.fields == 9


def test_a_gateway_s_bounds_hold_for_workloads_too() -> None:
    gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]"
    mesh = mesh_of(envoy_filter(bounds("request_timeout: 1s"), more=gateway))
    assert [manager(mesh, each).request_timeout.seconds for each in ("web", "api")] == [1, 1]
    (pods,) = [each for each in mesh.service("waypoint").extensions if "pod" in each.name]
    made = pb.HttpConnectionManager()
    assert pods.config.Unpack(made)
    assert made.request_timeout.seconds == 1


@pytest.mark.parametrize(
    ("patch", "field", "message"),
    [
        (bounds("request_headers_timeout: 1s"), "patch.value",
         "typed_config.request_headers_timeout: not supported"),
        (bounds("http_filters: []").replace("[]", "[{name: a}]"), "patch.value",
         "typed_config.http_filters: not supported"),
        (bounds("max_request_headers_kb: 61"), "patch.value", "max_request_headers_kb"),
        (bounds("common_http_protocol_options: {max_headers_count: 101}"), "patch.value",
         "typed_config.common_http_protocol_options.max_headers_count"),
        (bounds("common_http_protocol_options: {idle_timeout: 5s}"), "patch.value",
         "idle_timeout is not supported: it bounds a connection"),
        (bounds("stat_prefix: a", name="other"), "patch.value", "name: 'other' is not"),
        ("{applyTo: NETWORK_FILTER, patch: {operation: MERGE, value: {name: a}}}",
         "patch.value", "typed_config: missing"),
        (bounds("stream_idle_timeout: 1s").replace("MERGE", "ADD"), "patch.operation",
         "'ADD' is none of MERGE"),
        (bounds("stream_idle_timeout: 1s", SUB % "x"), "match",
         "leave subFilter out"),
        (on_filters("ADD", "a").replace("HTTP_FILTER", "NETWORK_FILTER")
         .replace("ADD", "MERGE"), "patch.value", "a waypoint doesn't know the type"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(patch: str, field: str, message: str) -> None:
    found = complaints(envoy_filter(patch))
    at = f"spec.configPatches[0].{field}"
    assert any(path == at and message in said for _, path, said in found), found


async def test_a_waypoint_holds_requests_to_them() -> None:
    made = manager(mesh_of(envoy_filter(bounds("max_request_headers_kb: 1"), more=WEB)))
    name = f"inbound-vip|80|filters|{hostname('web')}"
    there = Extension(name, TYPE_URL, made.SerializeToString())
    async with running() as waypoint, upstream() as server:
        waypoint.push(serving("web", there))
        waypoint.pod("web-1", "web", server.port)
        waypoint.ask("web")
        async with client(waypoint) as peer:
            assert (await peer.get("/" + "a" * 500))[0].startswith(b"http/1.1 200")
            assert (await peer.get("/" + "a" * 1500))[0].startswith(b"http/1.1 431")
