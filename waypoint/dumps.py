"""The waypoint's state for people, JSON-able."""

from __future__ import annotations

from typing import Any

from waypoint.config import Config
from waypoint.hbone.setup import Hbone
from waypoint.routing import dump_table
from waypoint.server import IdentityServer
from waypoint.targets import Target, Targets
from ztunnel_compat.drivers.mesh_client import MeshClient
from ztunnel_compat.runtime.settings import shown


def config_dump(
    config: Config, server: IdentityServer, mesh: MeshClient, hbone: Hbone | None
) -> dict[str, Any]:
    """All of it: ``services`` and ``workloads`` have the control plane's keys."""
    worker = server.worker
    targets = worker.targets
    return {
        "config": shown(config),
        "xds": mesh.status(),
        **targets.state.dump(),
        "targets": dump_targets(targets),
        "clusters": targets.clusters.dump(),
        "errors": targets.errors(),
        "jwks": worker.jwks.dump() if worker.jwks is not None else {},
        "counters": worker.stats.dump(),
        "buckets": worker.buckets.dump(),
        "plugins": worker.plugins.dump(),
        "connections": {
            "http": len(worker.downstreams),
            "tcp": len(worker.relays),
            "waiting": len(server.waiting),
        },
        "requests": worker.active,
        "load": worker.level.name.lower(),
        "hbone": hbone.dump() if hbone is not None else None,
        "memo": {
            "requests": len(worker.memo.records),
            "responses": len(worker.responses.records),
            "restarts": worker.memo.restarts + worker.responses.restarts,
        },
    }


def dump_targets(targets: Targets) -> dict[str, Any]:
    """What this waypoint serves: ``name:port`` → how."""
    served = targets.by_hash | dict(targets.workloads)
    return {
        f"{target.name}:{target.port}": dump_target(target, leaving=number in targets.leaving)
        for number, target in served.items()
    }


def dump_target(target: Target, *, leaving: bool) -> dict[str, Any]:
    """One target; leaving: another way is in force for it, shortly this one ends."""
    return {
        "protocol": target.protocol.name,
        "generation": target.generation,
        "leaving": leaving,
        "error": target.error,
        "routes": dump_table(target.table),
        "filters": [placed.filter.name for placed in target.chain.filters],
    }
