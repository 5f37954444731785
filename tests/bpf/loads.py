"""Loads of a test: what is in force, and what a staged one needs."""

from __future__ import annotations

import socket
from contextlib import closing
from dataclasses import replace

from bpf.flows import RawFlows
from bpf.kernel import link_info, pinned, program_id
from bpf.layout import Flow, Pod
from bpf.loader import Stage
from bpf.maps import Maps
from bpf.sources import MAPS, PROGRAMS
from bpf.sources import Place as At
from tests.bpf.engine import CLIENT, SMALL, Engine, Place, peer
from tests.support.netns import Netns

VIP = "10.96.1.1"
LARGER = replace(SMALL, ports=257)
PINS = ["links", "maps", "meta", "progs"]
ALL_MAPS = frozenset(MAPS)
CGROUP_PROGRAMS = [program for program in PROGRAMS if program.place is At.CGROUP]


def linked_programs(where: Place) -> dict[str, int]:
    found = {}
    for path in (where.pin_dir / "links").iterdir():
        with pinned(path) as link:
            found[path.name] = link_info(link, path.name).program
    return found


def redirects(where: Place, client: Netns, server: Netns) -> bool:
    """Whether the programs do their work, with maps filled for it."""
    maps = Maps.open(where.pin_dir)
    mesh = Engine(where, maps, generation=1000)
    mesh.enroll(client)
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, 8080)])
    try:
        with server.listen(server.v4, 8080) as listener, client.open_socket() as s:
            s.settimeout(1)
            s.connect((VIP, 80))
            with listener.accept()[0] as accepted:
                return bool(peer(accepted).source)
    except OSError:
        return False
    finally:
        maps.close()


def answered(client: Netns, listener: socket.socket) -> bool:
    """Whether a call to the service gets to the server, as the mesh's."""
    with client.open_socket() as s:
        s.settimeout(1)
        try:
            s.connect((VIP, 80))
        except OSError:
            return False
        with listener.accept()[0] as accepted:
            return bool(peer(accepted).source)


def mesh_flow(where: Place, maps: Maps, client: socket.socket, server: Netns) -> Flow | None:
    return Engine(where, maps).flow(client, (server.v4, 8080))


def fill(where: Place, staged: Stage, client: Netns, server: Netns) -> None:
    """Write what the service needs."""
    maps = Maps.open(staged.view)
    mesh = Engine(where, maps, generation=1000)
    maps.pods.put(client.cookie, Pod(CLIENT))
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, 8080)])
    maps.close()


def whole(where: Place) -> None:
    """All links have the pinned programs, and nothing else is pinned."""
    pinned_now = {}
    for path in (where.pin_dir / "progs").iterdir():
        with pinned(path) as program:
            pinned_now[path.name] = program_id(program, path.name)
    links = linked_programs(where)
    assert {n: i for n, i in links.items() if not n.startswith("pod_")} == {
        program.name: pinned_now[program.name] for program in CGROUP_PROGRAMS
    }
    assert {i for n, i in links.items() if n.startswith("pod_")} == {pinned_now["sk_lookup"]}
    assert sorted(path.name for path in where.pin_dir.iterdir()) == PINS
    assert {path.name for path in (where.pin_dir / "maps").iterdir()} == ALL_MAPS


def entries(where: Place, view: str = ".") -> list[bytes]:
    """All flows, whatever their layout."""
    with closing(RawFlows(where.pin_dir / view)) as flows:
        return [value for _, value in flows.entries()]
