"""The waypoint's settings; nothing else reads the environment."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from waypoint.errors import ConfigError

LOG_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """One waypoint's settings.

    gateway_name: the Gateway, and so the service, that this is an endpoint of;
    xds_address: ``host:port`` of the control plane; l4_mode: who proves callers'
    identities (``node``: the node agent of this pod's node).
    """

    pod_name: str
    pod_namespace: str
    node_name: str
    instance_ip: str
    gateway_name: str
    xds_address: str
    service_account: str = "default"
    cluster_id: str = "Kubernetes"
    l4_mode: str = "node"
    log_level: str = "info"


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    faults: list[str] = []

    def required(name: str, what: str) -> str:
        value = environment.get(name, "")
        if not value:
            faults.append(f"{name} is not set: it is {what}")
        return value

    config = Config(
        pod_name=required("POD_NAME", "this pod's name"),
        pod_namespace=required("POD_NAMESPACE", "this pod's namespace"),
        node_name=required("NODE_NAME", "the name of the node this pod is on"),
        instance_ip=required("INSTANCE_IP", "this pod's own IP address"),
        gateway_name=required("GATEWAY_NAME", "the Gateway that this waypoint belongs to"),
        xds_address=required("XDS_ADDRESS", "host:port of the control plane"),
        service_account=environment.get("SERVICE_ACCOUNT") or "default",
        cluster_id=environment.get("CLUSTER_ID") or "Kubernetes",
        l4_mode=environment.get("L4_MODE") or "node",
        log_level=(environment.get("LOG_LEVEL") or "info").lower(),
    )
    faults.extend(faults_of(config))
    if faults:
        raise ConfigError("; ".join(faults))
    return config


def faults_of(config: Config) -> list[str]:
    """What is wrong with values that are there."""
    faults = []
    if config.instance_ip:
        try:
            ipaddress.ip_address(config.instance_ip)
        except ValueError:
            faults.append(f"INSTANCE_IP={config.instance_ip!r} is no IP address")
    if config.xds_address:
        host, _, port = config.xds_address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            faults.append(
                f"XDS_ADDRESS={config.xds_address!r} is no host:port "
                "(an IPv6 address goes into brackets)"
            )
    if config.l4_mode == "none":
        faults.append(
            "L4_MODE='none' (a waypoint with a certificate of its own, outside the mesh's L4 "
            "engine) is not supported yet: enrol the pod and set L4_MODE=node"
        )
    elif config.l4_mode != "node":
        faults.append(f"L4_MODE={config.l4_mode!r} is not 'node'")
    if config.log_level not in LOG_LEVELS:
        faults.append(f"LOG_LEVEL={config.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    return faults
