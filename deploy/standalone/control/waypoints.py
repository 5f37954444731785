"""What a Gateway of a waypoint class adds to the mesh: a Service and a Deployment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.config import ACCESS_LOGS
from deploy.standalone.control.gatewayapi import HBONE_PORT, Gateway
from deploy.standalone.control.objects import (
    Container,
    ContainerPort,
    Deployment,
    EnvVar,
    FamilyPolicy,
    PodTemplate,
    Probe,
    Service,
    ServicePort,
)

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
GATEWAY_CLASS = "gateway.networking.k8s.io/gateway-class-name"
DATAPLANE_MODE = "istio.io/dataplane-mode"
MANAGED = "gateway.istio.io/managed"
CANONICAL_NAME = "service.istio.io/canonical-name"
READY_PORT = 15021
#: A field of our own: the file that the runner keeps a token for the pod in.
TOKEN_FIELD = "tandem.io/token-path"  # noqa: S105 - no secret
#: Where this process finds its packages, a waypoint's process finds its own.
PACKAGES = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class WaypointSettings:
    """What a waypoint must be told.

    xds_address: ``address:port``, as pods see it; roots: the file of roots that port
    15012 is verified with; access_log: where lines about requests go.
    """

    cluster_id: str
    xds_address: str
    roots: Path
    access_log: str = ACCESS_LOGS[0]


def waypoint_labels(gateway: Gateway) -> dict[str, str]:
    """Istio's labels for what belongs to a waypoint."""
    return {
        GATEWAY_CLASS: gateway.gateway_class,
        GATEWAY_NAME: gateway.name,
        MANAGED: "istio.io-mesh-controller",
        CANONICAL_NAME: gateway.name,
    }


def waypoint_service(gateway: Gateway) -> Service:
    """The Service that names the waypoint."""
    return Service(
        namespace=gateway.namespace,
        name=gateway.name,
        labels=waypoint_labels(gateway),
        selector={GATEWAY_NAME: gateway.name},
        ports=(ServicePort("mesh", HBONE_PORT, HBONE_PORT, app_protocol="tcp"),),
        origin=gateway.origin,
        family_policy=FamilyPolicy.PREFER_DUAL,
        gateway=gateway.name,
    )


def waypoint_deployment(gateway: Gateway, settings: WaypointSettings) -> Deployment:
    """The waypoint's own pods: the Gateway's label says whether they are enrolled."""
    mode = {k: v for k, v in gateway.labels.items() if k == DATAPLANE_MODE}
    container = Container(
        name="waypoint",
        command=(sys.executable, "-m", "waypoint"),
        env=(
            EnvVar("POD_NAME", field_path="metadata.name"),
            EnvVar("POD_NAMESPACE", field_path="metadata.namespace"),
            EnvVar("NODE_NAME", field_path="spec.nodeName"),
            EnvVar("SERVICE_ACCOUNT", field_path="spec.serviceAccountName"),
            EnvVar("INSTANCE_IP", field_path="status.podIP"),
            EnvVar("GATEWAY_NAME", gateway.name),
            EnvVar("CLUSTER_ID", settings.cluster_id),
            EnvVar("XDS_ADDRESS", settings.xds_address),
            EnvVar("XDS_ROOT_CA", str(settings.roots)),
            EnvVar("TOKEN_PATH", field_path=TOKEN_FIELD),
            EnvVar("L4_MODE", "none" if mode == {DATAPLANE_MODE: "none"} else "node"),
            EnvVar("ACCESS_LOG", settings.access_log),
            EnvVar("PYTHONPATH", str(PACKAGES)),
        ),
        ports=(ContainerPort("mesh", HBONE_PORT), ContainerPort("ready", READY_PORT)),
        readiness=Probe("http", READY_PORT, path="/healthz/ready", period=1),
    )
    return Deployment(
        namespace=gateway.namespace,
        name=gateway.name,
        replicas=1,
        template=PodTemplate(
            labels=waypoint_labels(gateway) | mode,
            containers=(container,),
            service_account=gateway.name,
        ),
        origin=gateway.origin,
        gateway=gateway.name,
    )
