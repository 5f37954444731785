"""One small scene for the tests of telemetry: a client, and two pods behind a service."""

from __future__ import annotations

from dataclasses import replace

from bpf.addresses import mapped
from bpf.layout import Event, EventKind, FlowFlag, TrafficKey
from daemon.telemetry.names import Names
from tests.daemon.meshes import ip, key_of, service, state_of, uid_of, workload
from ztunnel_compat.model import Locality, Workload
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.state import Changes, WorkloadState

CLIENT, WEB1, WEB2 = (name_hash(uid_of(name)) for name in ("client", "web-1", "web-2"))
WEB = target_hash(name_hash(key_of("web")), 80)
KEY = TrafficKey(CLIENT, WEB, WEB1, FlowFlag.SERVICE)
VISIT = TrafficKey(0, target_hash(WEB1, 8080), WEB1)
SPIFFE = "spiffe://cluster.local/ns/app/sa"

#: Of a connection from client to web: every label of ztunnel's CommonTrafficLabels but
#: reporter and response_flags.
LABELS = {
    "source_workload": "client",
    "source_canonical_service": "client",
    "source_canonical_revision": "v1",
    "source_workload_namespace": "app",
    "source_principal": f"{SPIFFE}/client",
    "source_app": "client",
    "source_version": "v1",
    "source_cluster": "Kubernetes",
    "destination_service": "web.app.svc.cluster.local",
    "destination_service_namespace": "app",
    "destination_service_name": "web",
    "destination_workload": "web",
    "destination_canonical_service": "web",
    "destination_canonical_revision": "v1",
    "destination_workload_namespace": "app",
    "destination_principal": f"{SPIFFE}/web",
    "destination_app": "web",
    "destination_version": "v1",
    "destination_cluster": "Kubernetes",
    "request_protocol": "tcp",
    "connection_security_policy": "kernel_verified",
    "source_region": "eu",
    "source_zone": "eu-1",
    "destination_region": "eu",
    "destination_zone": "eu-1",
}


def deployed(name: str, address: str, deployment: str) -> Workload:
    return replace(
        workload(name, address, of=("web",) if deployment == "web" else ()),
        workload_name=deployment,
        canonical_name=deployment,
        canonical_revision="v1",
        service_account=deployment,
        locality=Locality("eu", "eu-1"),
    )


def scene() -> WorkloadState:
    return state_of(
        service("web", "10.96.0.1"),
        deployed("client", "10.0.0.1", "client"),
        deployed("web-1", "10.0.0.2", "web"),
        deployed("web-2", "10.0.0.3", "web"),
    )


def names_of(state: WorkloadState) -> Names:
    names = Names(state)
    names.on_change(Changes(frozenset(), frozenset(s.key for s in state.services())))
    while names.refresh():
        pass
    return names


def event(**changes: int | bytes) -> Event:
    """A connection of 1.5 s from client to web, whose endpoint was web-1."""
    made = Event(
        kind=EventKind.CLOSED,
        source=CLIENT,
        target=WEB,
        destination=WEB1,
        identity=7,
        source_address=mapped(ip("10.0.0.1")),
        destination_address=mapped(ip("10.0.0.2")),
        original=mapped(ip("10.96.0.1")),
        source_port=40000,
        destination_port=8080,
        original_port=80,
        flags=FlowFlag.SERVICE,
        started=1_000_000_000,
        established=1_001_000_000,
        ended=2_500_900_000,
        sent=84,
        received=358,
    )
    return replace(made, **changes)
