from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bpf.knobs import Knobs
from bpf.maps import Maps
from daemon.agent import Agent
from daemon.config import Config
from daemon.desired import Desired
from daemon.dumps import config_dump, tables, tandem_version
from daemon.enroll import Enrolled
from daemon.program import Programmer, dump
from daemon.scope import Scope
from daemon.stranded import Stranded
from daemon.tunnel.bounds import Bound
from daemon.tunnel.families import collect
from daemon.tunnel.server import TunnelServer
from tests.daemon.meshes import (
    HERE,
    by_name,
    groups,
    keeper_of,
    key_of,
    service,
    state_of,
    uid_of,
    workload,
)
from ztunnel_compat.drivers.login import xds_login
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.runtime.settings import ProxySettings

CONFIG = Config(
    proxy=ProxySettings(
        pod_name="agent",
        pod_namespace="tandem-system",
        node_name="n1",
        instance_ip="10.0.0.1",
        xds_address="10.0.0.9:15012",
        xds_root_ca=Path("/roots.pem"),
        token_path=Path("/token"),
    ),
    zds_path=Path("/run/zds"),
    pin_dir=Path("/sys/fs/bpf/x"),
    cgroup_root=Path("/sys/fs/cgroup/x"),
)


def programmed_mesh() -> tuple[Agent, Maps]:
    state = state_of(
        service(
            "web",
            "10.96.0.1",
            "fd00:96::1",
            "10.97.0.0/16",
            "fd97::/32",
            waypoint=by_name("gate"),
            least_connections=True,
            affinity_seconds=60,
        ),
        service("gate", "10.96.0.9"),
        workload("a", "10.0.0.1", of=("web",)),
        workload("b", "10.0.0.2", of=("web",), capacity=3),
        workload("g", "10.0.0.9", of=("gate",)),
    )
    maps = Maps.memory()
    programmer = Programmer(maps, dump(maps))
    desired = Desired(state, HERE, {})
    scope = Scope()
    desired.enroll(7, uid_of("a"), scope)
    for item in state.services():
        desired.service_changed(item.key, scope)
    for pod in state.workloads():
        desired.workload_changed(pod.uid, scope)
    desired.settle(scope)
    for group in groups(programmer.programmed, desired):
        programmer.apply(group)
    return Agent(desired, programmer, keeper_of(maps, state), Stranded(maps.replies)), maps


async def test_config_dump_is_json_with_what_a_user_looks_for() -> None:
    agent, maps = programmed_mesh()
    node = NodeInfo("ztunnel", "10.0.0.1", "agent", "tandem-system", "n1")
    enroller = SimpleNamespace(
        enrolled={"uid-a": Enrolled(uid_of("a"), "default", 7, 3)},
        departed=SimpleNamespace(swept=0),
    )
    mesh = MeshClient(
        server=xds_login(CONFIG.proxy),
        node=node,
        state=agent.desired.state,
        on_change=agent.on_change,
    )
    zds = ZdsClient(CONFIG.zds_path, cast("Any", enroller))
    certificates = SimpleNamespace(dump=lambda: [{"state": "Available"}])
    server = tunnels()
    content = json.loads(
        json.dumps(
            config_dump(
                config=CONFIG,
                mesh=mesh,
                zds=zds,
                enroller=cast("Any", enroller),
                agent=agent,
                maps=maps,
                certificates=cast("Any", certificates),
                tunnels=server,
            )
        )
    )
    assert list(content["services"]) == [key_of("gate"), key_of("web")]
    assert list(content["workloads"]) == [uid_of("a"), uid_of("b"), uid_of("g")]
    assert content["certificates"] == [{"state": "Available"}]
    assert content["tunnels"]["pods"] == []
    assert content["tunnels"]["inbound"]["refused"] == {"HBONE connections": 2}
    assert content["tunnels"]["outbound"]["refused"] == {"not_redirected": 1}
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in collect(server)
        for sample in family.samples
    }
    assert told["tandem_tunnels_refused_total", "inbound", "connections"] == 2
    assert told["tandem_tunnels_refused_total", "inbound", "certificate"] == 0
    assert told["tandem_tunnels_refused_total", "outbound", "not_redirected"] == 1
    assert told["tandem_hbone_connects_total", "failure"] == 3
    assert content["enrolled"]["uid-a"]["uid"] == uid_of("a")
    assert content["programmed"]["tables"]["addresses"] == {
        "entries": 6,
        "maxEntries": Knobs().addresses,
        "full": 0,
    }
    assert content["programmed"]["tables"]["endpoints"]["entries"] == 3
    assert content["programmed"]["locality"] == {"region": "", "zone": "", "subzone": ""}
    assert content["problems"][key_of("gate")]
    assert content["counters"]["REFUSED_NO_ENDPOINT"] == 0
    assert content["xds"]["connected"] is False
    assert content["config"]["node_name"] == "n1"
    assert content["version"]["tandem"] == tandem_version()


def tunnels() -> TunnelServer:
    """A server that has refused this and that."""
    pool = SimpleNamespace(total=4, opened=9, failed=3, evicted=0, refused=0)
    outbound = SimpleNamespace(pool=pool, refused={"not_redirected": 1})
    made = SimpleNamespace(
        outbound=outbound,
        pods={},
        connections=1,
        tunnels=5,
        refused=Counter({Bound.CONNECTIONS: 2}),
        authorizer=SimpleNamespace(dump=dict),
    )
    return cast("TunnelServer", made)


def test_tables_have_names_where_the_kernel_has_hashes() -> None:
    agent, _maps = programmed_mesh()
    content = json.loads(json.dumps(tables(agent.programmer.programmed, agent.desired.state)))
    assert content["pods"] == [
        {
            "netns": 7,
            "workload": uid_of("a"),
            "waypoint": None,
            "identity": "spiffe://cluster.local/ns/app/sa/default",
            "namespace": "app",
            "flags": ["OWN_ADDRESSES", "RANGES"],
        }
    ]
    assert {
        "address": "10.96.0.1",
        "for": None,
        "kind": "SERVICE",
        "name": key_of("web"),
        "waypoint": key_of("gate"),
        "flags": ["LEAST_CONNECTIONS"],
        "affinity": 60,
    } in content["addresses"]
    assert {(r["range"], r["for"]) for r in content["ranges"]} == {
        ("10.97.0.0/16", None),
        ("10.97.0.0/16", "app"),
        ("fd97::/32", None),
        ("fd97::/32", "app"),
    }
    assert {
        "service": key_of("web"),
        "port": 80,
        "family": "IPV4",
        "generation": 1,
        "endpoints": ["10.0.0.1 8080 keep 0.500000 else 1", "10.0.0.2 8080"],
    } in [set_ | {"generation": 1} for set_ in content["ports"]]
    unknown = tables(agent.programmer.programmed, state_of())
    assert len(unknown["pods"][0]["workload"]) == 16
