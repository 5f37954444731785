"""The waypoint's settings; nothing else reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ztunnel_compat.runtime.settings import ProxySettings, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One waypoint's settings.

    gateway_name: the Gateway, and so the service, that this is an endpoint of;
    l4_mode: who proves callers' identities (``node``: the node agent of this pod's
    node).
    """

    proxy: ProxySettings
    gateway_name: str
    service_account: str = "default"
    l4_mode: str = "node"


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    reader = Reader(environment)
    config = Config(
        proxy=reader.proxy(),
        gateway_name=reader.required("GATEWAY_NAME", "the Gateway this waypoint belongs to"),
        service_account=reader.optional("SERVICE_ACCOUNT", "default"),
        l4_mode=reader.optional("L4_MODE", "node"),
    )
    if config.l4_mode == "none":
        reader.faults.append(
            "L4_MODE='none' (a waypoint with a certificate of its own, outside the mesh's L4 "
            "engine) is not supported yet: enrol the pod and set L4_MODE=node"
        )
    elif config.l4_mode != "node":
        reader.faults.append(f"L4_MODE={config.l4_mode!r} is not 'node'")
    reader.check()
    return config
