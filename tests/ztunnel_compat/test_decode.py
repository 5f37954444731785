from __future__ import annotations

import random
from dataclasses import fields

import pytest
from google.protobuf import any_pb2, struct_pb2, wrappers_pb2

from proto import workload_pb2
from tests.support.fuzz import mutate
from ztunnel_compat.decode import decode_address
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.model import (
    ApplicationTunnel,
    AppProtocol,
    Extension,
    GatewayAddress,
    HealthPolicy,
    LoadBalancing,
    LoadBalancingMode,
    Locality,
    NamespacedHostname,
    NetworkAddress,
    NetworkMode,
    Scope,
    Service,
    ServicePort,
    TunnelProtocol,
    Workload,
    WorkloadStatus,
)

UID = "Kubernetes//Pod/ns/pod"
KEY = "ns/web.local"
V4 = b"\x0a\x00\x00\x01"
V6 = bytes.fromhex("fd000010024400010000000000000001")
MAPPED = bytes(10) + b"\xff\xff" + V4
EXTENSION = workload_pb2.Extension(name="x", config=any_pb2.Any(type_url="t/x", value=b"\1"))
HOSTNAME = workload_pb2.GatewayAddress(
    hostname=workload_pb2.NamespacedHostname(namespace="ns", hostname="wp.local"),
    hbone_mtls_port=15008,
)
BY_HOSTNAME = GatewayAddress(NamespacedHostname("ns", "wp.local"), 15008)
BY_ADDRESS = workload_pb2.GatewayAddress(
    address=workload_pb2.NetworkAddress(network="net", address=V4)
)


def workload(**values):
    """The value of an Address that holds a workload, uid filled in."""
    message = workload_pb2.Workload(**{"uid": UID, **values})
    return workload_pb2.Address(workload=message).SerializeToString()


def service(**values):
    """The value of an Address that holds a service, its key filled in."""
    message = workload_pb2.Service(**{"namespace": "ns", "hostname": "web.local", **values})
    return workload_pb2.Address(service=message).SerializeToString()


def decoded(**values):
    result = decode_address(UID, workload(**values))
    assert isinstance(result, Workload)
    return result


def decoded_service(**values):
    result = decode_address(KEY, service(**values))
    assert isinstance(result, Service)
    return result


def address(packed, **values):
    return workload_pb2.NetworkAddress(address=packed, **values)


def port_list(*ports):
    return workload_pb2.PortList(ports=[workload_pb2.Port(**port) for port in ports])


def l4(**options):
    extension = workload_pb2.Extension(name="tandem.io/l4")
    struct = struct_pb2.Struct()
    struct.update(options)
    extension.config.Pack(struct)
    return extension


WORKLOAD_FIELDS = [
    ({"name": "pod"}, "name", "pod"),
    ({"namespace": "ns"}, "namespace", "ns"),
    ({"addresses": [V4, V6]}, "addresses", (V4, V6)),
    ({"addresses": [MAPPED]}, "addresses", (V4,)),
    ({"network": "net"}, "network", "net"),
    ({"hostname": "h.local"}, "hostname", "h.local"),
    ({"tunnel_protocol": 1}, "tunnel_protocol", TunnelProtocol.HBONE),
    ({}, "trust_domain", "cluster.local"),
    ({"trust_domain": "td"}, "trust_domain", "td"),
    ({}, "service_account", "default"),
    ({"service_account": "sa"}, "service_account", "sa"),
    ({}, "waypoint", None),
    ({"waypoint": HOSTNAME}, "waypoint", BY_HOSTNAME),
    ({"waypoint": BY_ADDRESS}, "waypoint", GatewayAddress(NetworkAddress("net", V4), 15008)),
    ({"node": "n1"}, "node", "n1"),
    ({"canonical_name": "web"}, "canonical_name", "web"),
    ({"canonical_revision": "v1"}, "canonical_revision", "v1"),
    ({}, "workload_type", "deployment"),
    ({"workload_type": 2}, "workload_type", "pod"),
    ({"workload_name": "web"}, "workload_name", "web"),
    ({"authorization_policies": ["ns/a"]}, "authorization_policies", ("ns/a",)),
    ({}, "status", WorkloadStatus.HEALTHY),
    ({"status": 1}, "status", WorkloadStatus.UNHEALTHY),
    ({}, "cluster_id", "Kubernetes"),
    ({"cluster_id": "c2"}, "cluster_id", "c2"),
    (
        {"services": {KEY: port_list({"service_port": 80, "target_port": 8080})}},
        "services",
        {KEY: (ServicePort(80, 8080),)},
    ),
    ({"services": {KEY: port_list()}}, "services", {KEY: ()}),
    ({}, "application_tunnel", None),
    (
        {"application_tunnel": workload_pb2.ApplicationTunnel(protocol=1, port=15088)},
        "application_tunnel",
        ApplicationTunnel(15088),
    ),
    (
        {"application_tunnel": workload_pb2.ApplicationTunnel(protocol=0, port=80)},
        "application_tunnel",
        None,
    ),
    (
        {"locality": workload_pb2.Locality(region="r", zone="z", subzone="s")},
        "locality",
        Locality("r", "z", "s"),
    ),
    ({"network_mode": 1}, "network_mode", NetworkMode.HOST_NETWORK),
    ({"extensions": [EXTENSION]}, "extensions", (Extension("x", "t/x", b"\1"),)),
    ({}, "capacity", 1),
    ({"capacity": wrappers_pb2.UInt32Value(value=0)}, "capacity", 0),
    ({"capacity": wrappers_pb2.UInt32Value(value=7)}, "capacity", 7),
    ({}, "accelerate", False),
    ({"extensions": [l4(accelerate=True)]}, "accelerate", True),
]

SERVICE_FIELDS = [
    ({"name": "web"}, "name", "web"),
    ({}, "namespace", "ns"),
    ({}, "hostname", "web.local"),
    (
        {"addresses": [address(V4, network="net"), address(V6, length=64)]},
        "addresses",
        (NetworkAddress("net", V4), NetworkAddress("", V6, 64)),
    ),
    ({"addresses": [address(V4, length=0)]}, "addresses", (NetworkAddress("", V4, 0),)),
    ({"addresses": [address(MAPPED)]}, "addresses", (NetworkAddress("", V4),)),
    (
        {"addresses": [address(MAPPED, length=120)]},
        "addresses",
        (NetworkAddress("", V4, 24),),
    ),
    (
        {"ports": [workload_pb2.Port(service_port=80, target_port=0, app_protocol=1)]},
        "ports",
        (ServicePort(80, 0, AppProtocol.HTTP11),),
    ),
    ({"subject_alt_names": ["spiffe://a"]}, "subject_alt_names", ("spiffe://a",)),
    ({"waypoint": HOSTNAME}, "waypoint", BY_HOSTNAME),
    (
        {
            "weighted_waypoints": [
                workload_pb2.WeightedWaypoint(destination=BY_ADDRESS, weight=1),
                workload_pb2.WeightedWaypoint(destination=HOSTNAME, weight=9),
            ]
        },
        "waypoint",
        BY_HOSTNAME,
    ),
    ({}, "load_balancing", LoadBalancing()),
    (
        {
            "load_balancing": workload_pb2.LoadBalancing(
                routing_preference=[6, 1, 2], mode=2, health_policy=1
            )
        },
        "load_balancing",
        LoadBalancing(
            (Scope.NETWORK, Scope.REGION, Scope.ZONE),
            LoadBalancingMode.FAILOVER,
            HealthPolicy.ALLOW_ALL,
        ),
    ),
    ({"extensions": [EXTENSION]}, "extensions", (Extension("x", "t/x", b"\1"),)),
    ({}, "namespace_visible_only", False),
    ({"visibility": 1}, "namespace_visible_only", True),
    ({}, "canonical", False),
    ({"canonical": True}, "canonical", True),
    ({}, "affinity_seconds", 0),
    ({"extensions": [l4(sessionAffinitySeconds=10800)]}, "affinity_seconds", 10800),
    ({}, "least_connections", False),
    ({"extensions": [EXTENSION, l4(leastConnections=True)]}, "least_connections", True),
]


@pytest.mark.parametrize(("sent", "field", "expected"), WORKLOAD_FIELDS)
def test_workload_fields(sent, field, expected):
    assert getattr(decoded(**sent), field) == expected


@pytest.mark.parametrize(("sent", "field", "expected"), SERVICE_FIELDS)
def test_service_fields(sent, field, expected):
    assert getattr(decoded_service(**sent), field) == expected


def test_no_field_is_left_untested():
    assert {f.name for f in fields(Workload)} - {"uid"} == {f for _, f, _ in WORKLOAD_FIELDS}
    assert {f.name for f in fields(Service)} == {f for _, f, _ in SERVICE_FIELDS}


def test_names_are_the_resources_own():
    assert decoded().uid == UID
    assert decoded_service().key == KEY


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"uid": ""}, "uid: missing"),
        ({"uid": "other"}, "uid 'other' under another name"),
        ({"addresses": [b"\x0a\x00\x01"]}, "addresses: 3 bytes, expected 4 or 16"),
        ({"addresses": [b""]}, "addresses: 0 bytes"),
        ({"tunnel_protocol": 2}, "tunnel_protocol: 2 is none of NONE (0), HBONE (1)"),
        ({"status": 9}, "status: 9 is none of"),
        ({"network_mode": 9}, "network_mode: 9 is none of"),
        ({"workload_type": 9}, "workload_type: 9 is unknown"),
        ({"waypoint": workload_pb2.GatewayAddress()}, "waypoint: neither"),
        (
            {
                "waypoint": workload_pb2.GatewayAddress(
                    hostname=workload_pb2.NamespacedHostname(namespace="ns")
                )
            },
            "waypoint.hostname: missing",
        ),
        (
            {"waypoint": workload_pb2.GatewayAddress(address=address(b"\1\2"))},
            "waypoint.address: 2 bytes",
        ),
        (
            {
                "waypoint": workload_pb2.GatewayAddress(
                    address=address(V4), hbone_mtls_port=65_536
                )
            },
            "waypoint.hbone_mtls_port: 65536 is no port",
        ),
        ({"services": {"web.local": port_list()}}, "services: 'web.local' is no namespace"),
        ({"services": {"/web.local": port_list()}}, "services: '/web.local' is no"),
        ({"services": {"ns/": port_list()}}, "services: 'ns/' is no"),
        (
            {"services": {KEY: port_list({"target_port": 80})}},
            f"services[{KEY}].service_port: missing",
        ),
        (
            {"services": {KEY: port_list({"service_port": 80, "target_port": 70_000})}},
            f"services[{KEY}].target_port: 70000 is no port",
        ),
        (
            {"application_tunnel": workload_pb2.ApplicationTunnel(protocol=1)},
            "application_tunnel.port: missing",
        ),
        (
            {"application_tunnel": workload_pb2.ApplicationTunnel(protocol=5, port=1)},
            "application_tunnel.protocol: 5 is unknown",
        ),
        ({"extensions": [l4(accelerate="yes")]}, "[tandem.io/l4].accelerate: 'yes' is not"),
    ],
)
def test_bad_workloads_are_rejected_by_field_and_value(sent, reason):
    with pytest.raises(ResourceError) as caught:
        decoded(**sent)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"namespace": ""}, "namespace: missing"),
        ({"hostname": ""}, "hostname: missing"),
        ({"hostname": "other"}, "service 'ns/other' under another name"),
        ({"addresses": [address(b"\1")]}, "addresses: 1 bytes"),
        ({"addresses": [address(V4, length=33)]}, "addresses.length: 33"),
        ({"addresses": [address(V6, length=129)]}, "addresses.length: 129"),
        ({"addresses": [address(MAPPED, length=95)]}, "addresses.length: 95"),
        ({"ports": [workload_pb2.Port(service_port=0)]}, "ports.service_port: missing"),
        ({"ports": [workload_pb2.Port(service_port=70_000)]}, "ports.service_port: 70000"),
        (
            {"ports": [workload_pb2.Port(service_port=1, app_protocol=9)]},
            "ports.app_protocol: 9 is none of",
        ),
        (
            {"load_balancing": workload_pb2.LoadBalancing(mode=9)},
            "load_balancing.mode: 9 is none of",
        ),
        (
            {"load_balancing": workload_pb2.LoadBalancing(routing_preference=[9])},
            "load_balancing.routing_preference: 9 is none of",
        ),
        (
            {"load_balancing": workload_pb2.LoadBalancing(routing_preference=[1, 0])},
            "load_balancing.routing_preference: 0 is unspecified",
        ),
        ({"extensions": [l4(accelerate=True)]}, "[tandem.io/l4].accelerate: unknown option"),
        (
            {"load_balancing": workload_pb2.LoadBalancing(health_policy=9)},
            "load_balancing.health_policy: 9 is none of",
        ),
        (
            {"weighted_waypoints": [workload_pb2.WeightedWaypoint(weight=1)]},
            "weighted_waypoints: neither",
        ),
    ],
)
def test_bad_services_are_rejected_by_field_and_value(sent, reason):
    with pytest.raises(ResourceError) as caught:
        decoded_service(**sent)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(b"\xff\xff", "no istio.workload.Address"), (b"", "neither a workload nor a service")],
)
def test_what_is_no_address_is_rejected(value, reason):
    with pytest.raises(ResourceError, match=reason):
        decode_address(UID, value)


def test_what_workloads_have_in_common_is_held_once():
    values = {
        "namespace": "ns",
        "node": "n1",
        "services": {KEY: port_list({"service_port": 80, "target_port": 8080})},
        "locality": workload_pb2.Locality(region="r", zone="z"),
    }
    one, other = decoded(**values), decoded(**values)
    assert one.services is other.services
    assert one.locality is other.locality
    assert (one.namespace is other.namespace, one.node is other.node) == (True, True)
    different = decoded(**values | {"services": {KEY: port_list({"service_port": 81})}})
    assert different.services == {KEY: (ServicePort(81, 0),)}


def fuzz(inputs: int, seed: int) -> None:
    """Whatever comes: a workload, a service, or a ResourceError."""
    rng = random.Random(seed)
    ports = port_list({"service_port": 80, "target_port": 8080})
    seeds = [
        workload(
            addresses=[V4, V6],
            services={KEY: ports},
            waypoint=HOSTNAME,
            tunnel_protocol=1,
            application_tunnel=workload_pb2.ApplicationTunnel(protocol=1, port=15088),
            locality=workload_pb2.Locality(region="r", zone="z"),
            extensions=[EXTENSION],
            capacity=wrappers_pb2.UInt32Value(value=3),
        ),
        service(
            name="web",
            addresses=[workload_pb2.NetworkAddress(address=V4)],
            ports=[workload_pb2.Port(service_port=80, target_port=8080)],
            waypoint=BY_ADDRESS,
            extensions=[EXTENSION],
        ),
    ]
    for _ in range(inputs):
        at = rng.randrange(2)
        try:
            found = decode_address((UID, KEY)[at], mutate(rng, seeds[at]))
        except ResourceError:
            continue
        assert isinstance(found, Workload | Service)


def test_fuzz() -> None:
    fuzz(3000, 1)


@pytest.mark.soak
def test_fuzz_long() -> None:
    fuzz(200_000, 2)
