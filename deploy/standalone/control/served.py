"""What is served of a view: resources of the stream, and the runner's snapshot.

Each piece is remembered with its inputs (memo.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from deploy.standalone.control.authentication import Standing
from deploy.standalone.control.extensionapi import ConfigPatch
from deploy.standalone.control.hosts import Host
from deploy.standalone.control.istioapi import ROOT_NAMESPACE, PeerAuthentication
from deploy.standalone.control.memo import Memo
from deploy.standalone.control.objects import Family, IpAddress, Service, Transport, Visibility
from deploy.standalone.control.outsides import OutsideView
from deploy.standalone.control.pods import PodStatus
from deploy.standalone.control.snapshot import (
    Snapshot,
    host_json,
    make_snapshot,
    pod_json,
    service_json,
)
from deploy.standalone.control.translate.attached import Chain, HttpPort
from deploy.standalone.control.translate.authentications import (
    converted,
    converted_name,
    static_strict,
    strict_name,
)
from deploy.standalone.control.translate.clusters import clusters
from deploy.standalone.control.translate.destinations import Destination
from deploy.standalone.control.translate.entries import (
    host_address,
    host_name,
    outside_address,
)
from deploy.standalone.control.translate.managers import filters_name
from deploy.standalone.control.translate.policies import policy_name
from deploy.standalone.control.translate.ports import Port
from deploy.standalone.control.translate.resources import (
    Contents,
    Resource,
    pack_policy,
    pack_service,
    pack_workload,
)
from deploy.standalone.control.translate.routes import configuration_name, route_configuration
from deploy.standalone.control.translate.services import service_address, service_name
from deploy.standalone.control.translate.streams import listener, listener_name
from deploy.standalone.control.translate.workloads import (
    PodView,
    workload_address,
    workload_name,
)
from deploy.standalone.control.view import View
from deploy.standalone.control.world import Name

#: A resource as daemons get it, and as waypoints do.
Pair = tuple[Resource, Resource]


def make_contents(view: View, trust_domain: str, memo: Memo) -> Contents:
    """Every resource of the stream, for daemons and for waypoints."""
    plain: dict[str, Resource] = {}
    routed: dict[str, Resource] = {}
    for name, pod in view.pods.items():
        status = view.statuses.get(name)
        if status is None or not status.serving:
            continue
        uid = workload_name(pod.pod)
        inputs = (pod, status.ips, status.ready)
        plain[uid], routed[uid] = memo.get(
            ("workload", name), inputs, partial(pack_pod, uid, pod, status, trust_domain)
        )
    for uid, outside in view.outsides.items():
        plain[uid], routed[uid] = memo.get(
            ("outside", uid), (outside,), partial(pack_outside, uid, outside, trust_domain)
        )
    for name, host in view.hosts.by_key.items():
        parts = (host, view.carried.vips.get(name, ()), view.host_waypoints[name])
        key, traffic = host_name(host), traffic_of(name, host.entry.ports, view)
        plain[key], routed[key] = memo.get(
            ("host", name), (*parts, traffic), partial(pack_host, parts, traffic)
        )
    for name, service in view.world.services.items():
        if service.visibility is Visibility.NONE:
            continue
        traffic = traffic_of((service.namespace, service.hostname), service.ports, view)
        described = (
            service,
            view.allocations.addresses[name],
            view.allocations.families[name],
            view.service_waypoints[name],
        )
        key = service_name(service)
        plain[key], routed[key] = memo.get(
            ("service", name),
            (*described, traffic),
            partial(pack_routed, key, described, traffic),
        )
    return Contents(plain, routed, make_policies(view, memo))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What waypoints are told of a service. filters: HttpConnectionManagers by port;
    routes: RouteConfigurations that EnvoyFilters changed; access: filters for bytes;
    patches: of clusters; ports: TCP ones.
    """

    http: Mapping[int, HttpPort]
    streams: Mapping[int, tuple[Chain, ...]]
    access: Mapping[int, tuple[Any, ...]]
    filters: Mapping[int, Any]
    routes: Mapping[int, Any]
    destination: Destination | None
    patches: tuple[ConfigPatch, ...]
    ports: tuple[Port, ...]


def traffic_of(key: Name, ports: Sequence[Port], view: View) -> Traffic:
    """What is attached to a service, by namespace and hostname."""
    return Traffic(
        view.attachments.http.get(key, {}),
        view.attachments.streams.get(key, {}),
        view.access.get(key, {}),
        view.filters.get(key, {}),
        view.patched_routes.get(key, {}),
        view.destinations.by_key.get(key),
        view.patches.get(key, ()),
        tuple(port for port in ports if port.transport is Transport.TCP),
    )


def configurations(hostname: str, traffic: Traffic) -> dict[str, Any]:
    """Envoy's messages for a service, by the names that they ride under."""
    found: dict[str, Any] = {}
    for number, attached in traffic.http.items():
        found[configuration_name(number, hostname)] = route_configuration(
            hostname, number, attached
        )
    for number, configuration in traffic.routes.items():
        found[configuration_name(number, hostname)] = configuration
    for number in traffic.streams.keys() | traffic.access.keys():
        chains = traffic.streams.get(number, ())
        access = traffic.access.get(number, ())
        found[listener_name(number, hostname)] = listener(hostname, number, chains, access)
    for number, manager in traffic.filters.items():
        found[filters_name(number, hostname)] = manager
    return found | clusters(hostname, traffic.ports, traffic.destination, traffic.patches)


def make_policies(view: View, memo: Memo) -> dict[str, Resource]:
    """The policies that are sent, PeerAuthentications' among them."""
    found = {}
    for name, translated in view.policies.items():
        policy, authorization = view.world.policies[name], translated.authorization
        if authorization is not None:
            key = policy_name(policy)
            found[key] = memo.get(
                ("policy resource", name), (policy,), partial(pack_policy, key, authorization)
            )
    authentications = view.authentications
    if authentications.objects:
        found[strict_name()] = memo.get(
            ("policy resource", strict_name()),
            (),
            lambda: pack_policy(strict_name(), static_strict()),
        )
    for each in authentications.objects.values():
        standing = authentications.of_levels(each.namespace, each)
        if each.selector and standing.exceptions and each.namespace != ROOT_NAMESPACE:
            key = converted_name(each)
            found[key] = memo.get(
                ("policy resource", key),
                (standing,),
                partial(pack_converted, key, each, standing),
            )
    return found


def pack_converted(key: str, own: PeerAuthentication, standing: Standing) -> Resource:
    """What becomes of a PeerAuthentication with ports of its own."""
    return pack_policy(key, converted(own, standing))


def pack_pod(uid: str, view: PodView, status: PodStatus, trust_domain: str) -> Pair:
    """A pod's resource, for daemons and for waypoints."""
    address = workload_address(view, status, trust_domain)
    return pack_workload(uid, address, view.pod.template.labels)


def pack_outside(uid: str, view: OutsideView, trust_domain: str) -> Pair:
    """The resource of a workload that is no pod, in both forms."""
    return pack_workload(uid, outside_address(view, trust_domain), view.labels)


def pack_host(parts: tuple[Host, tuple[IpAddress, ...], Name | None], traffic: Traffic) -> Pair:
    """A host's resource, in both forms."""
    host = parts[0]
    extra = configurations(host.hostname, traffic)
    return pack_service(host_name(host), host_address(*parts), extra)


def pack_routed(
    key: str,
    described: tuple[Service, tuple[IpAddress, ...], tuple[Family, ...], Name | None],
    traffic: Traffic,
) -> Pair:
    """A service's resource, for daemons and for waypoints."""
    extra = configurations(described[0].hostname, traffic)
    return pack_service(key, service_address(*described), extra)


def snapshot_of(view: View, memo: Memo) -> Snapshot:
    """What the runner gets; pods without a node wait until they have one."""
    pods = [
        memo.get(
            ("pod json", name),
            (each.pod, each.enrolled),
            partial(pod_json, each.pod, enrolled=each.enrolled),
        )
        for name, each in sorted(view.pods.items(), key=lambda item: item[0])
        if each.pod.node
    ]
    services = []
    for name, service in sorted(view.world.services.items(), key=lambda item: item[0]):
        inputs = (
            service,
            view.allocations.addresses[name],
            view.allocations.families[name],
            view.endpoints.get(name, ()),
        )
        services.append(
            memo.get(("service json", name), inputs, partial(service_json, *inputs))
        )
    for name, host in sorted(view.hosts.by_key.items()):
        if host.canonical:  # the stand-ins know no namespace of who asks
            given = (
                host, view.carried.vips.get(name, ()), view.host_endpoints.get(name, ())
            )  # fmt: skip
            services.append(memo.get(("host json", name), given, partial(host_json, *given)))
    return make_snapshot(pods, services)
