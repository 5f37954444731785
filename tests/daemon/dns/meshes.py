"""A mesh with every kind of name, and how to ask about it."""

from __future__ import annotations

import dns.message

from daemon.dns.answers import Asker
from tests.daemon.meshes import ip
from ztunnel_compat.model import (
    HealthPolicy,
    LoadBalancing,
    NetworkAddress,
    Service,
    Workload,
    WorkloadStatus,
)

DOMAIN = "cluster.local"
APP = Asker("app", "")


def full(name: str, namespace: str = "app") -> str:
    return f"{name}.{namespace}.svc.{DOMAIN}"


def service(
    hostname: str,
    *vips: str,
    namespace: str = "app",
    private: bool = False,
    network: str = "",
    any_health: bool = False,
) -> Service:
    """vips: addresses, or ranges as address/length."""
    addresses = []
    for vip in vips:
        address, _, length = vip.partition("/")
        addresses.append(NetworkAddress(network, ip(address), int(length) if length else None))
    policy = HealthPolicy.ALLOW_ALL if any_health else HealthPolicy.ONLY_HEALTHY
    return Service(
        name=hostname.partition(".")[0],
        namespace=namespace,
        hostname=hostname,
        addresses=tuple(addresses),
        namespace_visible_only=private,
        load_balancing=LoadBalancing(health_policy=policy),
    )


def pod(
    name: str,
    *addresses: str,
    of: str = "",
    namespace: str = "app",
    hostname: str = "",
    healthy: bool = True,
    network: str = "",
) -> Workload:
    return Workload(
        uid=f"Kubernetes//Pod/{namespace}/{name}",
        name=name,
        namespace=namespace,
        addresses=tuple(map(ip, addresses)),
        hostname=hostname,
        network=network,
        status=WorkloadStatus.HEALTHY if healthy else WorkloadStatus.UNHEALTHY,
        services={f"{namespace}/{of}": ()} if of else {},
        canonical_name=f"{name}-app",
        canonical_revision="v1",
    )


def mesh() -> list[Service | Workload]:
    return [
        service(full("web"), "10.96.0.1", "fd00::1"),
        service(full("four"), "10.96.0.2"),
        service(full("web", "other"), "10.96.0.3", namespace="other"),
        service(full("private", "other"), "10.96.0.4", namespace="other", private=True),
        service(full("secret"), "10.96.0.5", private=True),
        service(full("away"), "10.96.0.6", network="elsewhere"),
        service("db.example.com", "240.240.0.1", "2001:2::1"),
        service("Mixed.Example.com", "240.240.0.2"),
        service("*.wild.example.com", "240.240.0.3"),
        service("*.deep.wild.example.com", "240.240.0.4"),
        service("shared.example.com", "240.240.0.5", namespace="b"),
        service("shared.example.com", "240.240.0.6", namespace="a"),
        service("shared.example.com", "240.240.0.7"),
        service("range.example.com", "10.0.0.0/8"),
        service("one.example.com", "240.240.0.8/32", "10.0.0.0/8"),
        service("nowhere.example.com"),
        service(full("db")),
        service(full("any"), any_health=True),
        service(full("nobody")),
        pod("db-0", "10.244.0.1", "fd01::1", of=full("db"), hostname="db-0"),
        pod("db-1", "10.244.0.2", "fd01::2", of=full("db"), hostname="db-1"),
        pod("db-2", "10.244.0.3", of=full("db"), hostname="db-2", healthy=False),
        pod("db-3", "10.244.0.4", of=full("db"), network="elsewhere"),
        pod("any-0", "10.244.0.5", of=full("any"), healthy=False),
        pod("client", "10.244.0.9"),
    ]


def query(name: str, kind: str = "A", *, payload: int = 0, number: int = 4660) -> bytes:
    """A query's bytes; payload: with EDNS."""
    made = dns.message.make_query(
        name, kind, use_edns=0 if payload else -1, payload=payload or None, id=number
    )
    return made.to_wire()
