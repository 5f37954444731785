"""The admin pages' content, JSON-able."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import IntFlag
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bpf.codecs import U64, split
from bpf.layout import (
    LAYOUT_HASH,
    Address,
    AddressFlag,
    AddressKey,
    AddressKind,
    Endpoint,
    Family,
    Pod,
    PodFlag,
    Port,
    PortKey,
    RangeBits,
    RangeKey,
)
from bpf.maps import Maps
from daemon.agent import Agent
from daemon.alias import ALWAYS
from daemon.config import Config
from daemon.content import address_text
from daemon.enroll import Enroller
from daemon.program import Programmer
from daemon.programmed import Programmed
from daemon.scope import TABLES
from daemon.tunnel import families as tunnel_families
from daemon.tunnel.server import TunnelServer
from ztunnel_compat.credentials.holder import Holder
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
    certificates: Holder,
    tunnels: TunnelServer,
) -> dict[str, Any]:
    """What this node agent knows and how it is doing."""
    programmer = agent.programmer
    return {
        **agent.desired.state.dump(),
        **mesh.policies.dump(),
        "enrolled": {
            uid: dataclasses.asdict(pod) for uid, pod in sorted(enroller.enrolled.items())
        },
        "certificates": certificates.dump(),
        "tunnels": tunnel_families.dump(tunnels),
        "programmed": {
            "ready": agent.ready.is_set(),
            "pushes": agent.pushes,
            "operations": programmer.operations,
            "lastPushSeconds": round(agent.last_seconds, 6),
            "tables": {
                name: {"entries": entries, "maxEntries": most, "full": full}
                for name, entries, most, full in used_maps(programmer)
            },
            "failed": sorted(set(programmer.failed.values())),
            "failedEntries": len(programmer.failed),
            "flowsSwept": enroller.departed.swept,
            "locality": dataclasses.asdict(agent.desired.vantage.locality),
        },
        "authorization": {
            "workloads": agent.keeper.dump(),
            "totals": [
                {
                    "policy": row.policy,
                    "verdict": row.verdict.name,
                    "closed": row.closed,
                    "count": row.count,
                }
                for row in agent.keeper.sets.totals.rows()
            ],
            "full": dict(agent.keeper.full),
        },
        "problems": {key: list(texts) for key, texts in agent.desired.problems().items()},
        "counters": {counter.name: value for counter, value in maps.counters().items()},
        "xds": mesh.status(),
        "zds": zds.status(),
        "config": shown(config),
        "version": {"tandem": tandem_version(), "layout": LAYOUT_HASH},
    }


def used_maps(programmer: Programmer) -> list[tuple[str, int, int, int]]:
    """The maps that are programmed: name, entries, most entries, times full."""
    programmed = programmer.programmed
    used: dict[str, int] = {name: len(programmed.of(name)) for name in TABLES}
    used["endpoints"] = sum(map(len, programmed.endpoints.values())) // Endpoint.SIZE
    return [
        (name, used[name], table.max_entries, programmer.full[name])
        for name, table in programmer.tables.items()
    ]


def tables(programmed: Programmed, state: WorkloadState) -> dict[str, Any]:
    """The programmed entries, with the names behind their hashes."""
    names = {name_hash(s.key): s.key for s in state.services()}
    names |= {name_hash(w.uid): w.uid for w in state.workloads()}
    for workload in state.workloads():
        names[name_hash(workload.namespace)] = workload.namespace
        identity = str(workload.identity)
        names[name_hash(identity)] = identity
    for service in state.services():
        names[name_hash(service.namespace)] = service.namespace

    def named(number: int) -> str | None:
        return names.get(number, f"{number:016x}") if number else None

    def enrolled(entries: Mapping[bytes, bytes], place: str) -> list[dict[str, Any]]:
        pods = sorted((U64.unpack(key), Pod.unpack(raw)) for key, raw in entries.items())
        return [
            {
                place: number,
                "workload": named(pod.workload),
                "waypoint": named(pod.waypoint),
                "identity": named(pod.identity),
                "namespace": named(pod.namespace),
                "flags": flags_text(PodFlag, pod.flags),
            }
            for number, pod in pods
        ]

    def leads_to(raw: bytes) -> dict[str, Any]:
        address = Address.unpack(raw)
        return {
            "kind": AddressKind(address.kind).name,
            "name": named(address.name),
            "waypoint": named(address.waypoint),
            "flags": flags_text(AddressFlag, address.flags),
            "affinity": address.affinity,
        }

    addresses = [(AddressKey.unpack(k), raw) for k, raw in programmed.addresses.items()]
    ranges = [(RangeKey.unpack(k), raw) for k, raw in programmed.ranges.items()]
    ports = [(PortKey.unpack(k), Port.unpack(raw)) for k, raw in programmed.ports.items()]
    return {
        "pods": enrolled(programmed.pods, "netns"),
        "members": enrolled(programmed.members, "cgroup"),
        "addresses": [
            {"address": address_text(key.address), "for": named(key.namespace), **leads_to(raw)}
            for key, raw in addresses
        ],
        "ranges": [
            {"range": range_text(key), "for": named(key.namespace), **leads_to(raw)}
            for key, raw in ranges
        ],
        "ports": [
            {
                "service": named(key.service),
                "port": key.port,
                "family": Family(key.family).name,
                "generation": port.generation,
                "endpoints": [
                    endpoint_text(Endpoint.unpack(raw))
                    for raw in split(programmed.endpoints_of(port.pack()), Endpoint.SIZE)
                ],
            }
            for key, port in ports
        ],
    }


def flags_text(flags: type[IntFlag], value: int) -> list[str]:
    """The names of what is set."""
    return [flag.name or "" for flag in flags if flag & value]


def endpoint_text(endpoint: Endpoint) -> str:
    """An endpoint, and how it is drawn when not evenly."""
    text = f"{address_text(endpoint.address)} {endpoint.port}"
    if endpoint.keep == ALWAYS:
        return text
    return f"{text} keep {endpoint.keep / 2**32:.6f} else {endpoint.alias}"


def range_text(key: RangeKey) -> str:
    """A range as people write it."""
    length = key.prefix - RangeBits.NAMESPACE
    text = address_text(key.address)
    return f"{text}/{length if ':' in text else length - 96}"


def tandem_version() -> str:
    """The installed version, or that of a source tree."""
    try:
        return version("tandem-mesh")
    except PackageNotFoundError:
        return "source"
