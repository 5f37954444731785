"""The admin pages' content, JSON-able."""

from __future__ import annotations

import dataclasses
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bpf.layout import LAYOUT_HASH, AddressKind, Family
from bpf.maps import Maps
from daemon.agent import Agent
from daemon.config import Config
from daemon.content import address_text
from daemon.enroll import Enroller
from daemon.reconcile import Programmed
from ztunnel_compat.drivers.mesh_client import MeshClient
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.names import name_hash
from ztunnel_compat.runtime.settings import shown
from ztunnel_compat.state import WorkloadState


def config_dump(
    *,
    config: Config,
    mesh: MeshClient,
    zds: ZdsClient,
    enroller: Enroller,
    agent: Agent,
    maps: Maps,
) -> dict[str, Any]:
    """What this node agent knows and how it is doing."""
    programmer = agent.programmer
    programmed = programmer.programmed
    used = [
        (maps.pods.name, maps.pods.max_entries, len(programmed.pods)),
        (maps.addresses.name, maps.addresses.max_entries, len(programmed.addresses)),
        (maps.ports.name, maps.ports.max_entries, len(programmed.ports)),
        (
            maps.endpoints.name,
            maps.endpoints.max_entries,
            sum(map(len, programmed.endpoints.values())),
        ),
    ]
    return {
        **agent.desired.state.dump(),
        "enrolled": {
            uid: dataclasses.asdict(pod) for uid, pod in sorted(enroller.enrolled.items())
        },
        "programmed": {
            "ready": agent.ready.is_set(),
            "pushes": agent.pushes,
            "operations": programmer.operations,
            "lastPushSeconds": round(agent.last_seconds, 6),
            "tables": {
                name: {"entries": entries, "maxEntries": most, "full": programmer.full[name]}
                for name, most, entries in used
            },
            "failed": sorted(set(programmer.failed.values())),
            "failedEntries": len(programmer.failed),
            "flowsSwept": enroller.departed.swept,
        },
        "problems": {key: list(texts) for key, texts in agent.desired.problems().items()},
        "counters": {counter.name: value for counter, value in maps.counters().items()},
        "xds": mesh.status(),
        "zds": zds.status(),
        "config": shown(config),
        "version": {"tandem": tandem_version(), "layout": LAYOUT_HASH},
    }


def tables(programmed: Programmed, state: WorkloadState) -> dict[str, Any]:
    """The programmed entries, with the names behind their hashes."""
    names = {name_hash(s.key): s.key for s in state.services()}
    names |= {name_hash(w.uid): w.uid for w in state.workloads()}

    def named(number: int) -> str | None:
        return names.get(number, f"{number:016x}") if number else None

    return {
        "pods": [
            {"netns": cookie, "workload": named(p.workload), "waypoint": named(p.waypoint)}
            for cookie, p in sorted(programmed.pods.items())
        ],
        "addresses": [
            {
                "address": address_text(key.address),
                "kind": AddressKind(address.kind).name,
                "name": named(address.name),
                "waypoint": named(address.waypoint),
                "identityPort": address.identity_port or None,
            }
            for key, address in programmed.addresses.items()
        ],
        "ports": [
            {
                "service": named(key.service),
                "port": key.port,
                "family": Family(key.family).name,
                "generation": port.generation,
                "endpoints": [
                    f"{address_text(endpoint.address)} {endpoint.port}"
                    for _, endpoint in sorted(
                        programmed.endpoints.get(port.generation, {}).items(),
                        key=lambda item: item[0],
                    )
                ],
            }
            for key, port in programmed.ports.items()
        ],
    }


def tandem_version() -> str:
    """The installed version, or that of a source tree."""
    try:
        return version("tandem-mesh")
    except PackageNotFoundError:
        return "source"
