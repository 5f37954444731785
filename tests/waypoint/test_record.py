"""Requests and connections over real sockets, and what is counted of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from tests.waypoint.http2.peers import client2, upstream2
from tests.waypoint.http2.peers import echo as echo2
from tests.waypoint.mesh import TCP_PORT, Mesh, host, routes, running, service, to, until
from tests.waypoint.test_exchange import closed_port, serve
from tests.waypoint.test_tcp import echo
from tests.waypoint.wire import client, ok, request, upstream
from waypoint.metrics.labels import REQUEST, STREAM
from waypoint.metrics.recorder import RECEIVED_SUM, SENT_SUM, SUM
from ztunnel_compat.model import AppProtocol

WHO = "spiffe://cluster.local/ns/apps/sa/default"


def counted(mesh: Mesh, *names: str) -> Counter[tuple[str, ...]]:
    """How many requests there were, by these labels."""
    found: Counter[tuple[str, ...]] = Counter()
    for values, row in mesh.worker.recorder.requests.rows.items():
        labels = dict(zip(REQUEST, values, strict=True))
        found[tuple(labels[name] for name in names)] += sum(row[:SUM])
    return found


def flags(mesh: Mesh) -> Counter[tuple[str, ...]]:
    return counted(mesh, "response_code", "response_flags")


async def test_a_request_is_counted_with_who_asked_whom() -> None:
    async with running() as mesh, upstream(None, ok(b"hello")) as server:
        serve(mesh, server.port)
        async with client(mesh) as peer:
            for _ in range(3):
                await peer.get()
        assert counted(
            mesh, "source_principal", "source_workload_namespace", "destination_principal",
            "destination_service", "destination_service_name", "request_protocol",
            "connection_security_policy", "response_code", "response_flags",
        ) == {
            (WHO, "apps", WHO, "web.apps.svc.cluster.local", "web", "http",
             "kernel_verified", "200", "-"): 3,
        }  # fmt: skip


async def test_bytes_of_both_bodies() -> None:
    async with running() as mesh:

        async def answer(peer: object) -> None:
            assert hasattr(peer, "until")
            await peer.until(b"abc")
            await peer.send(ok(b"hello!!"))  # type: ignore[attr-defined]

        async with upstream(answer) as server:
            serve(mesh, server.port)
            async with client(mesh) as peer:
                await peer.send(request("/", "Content-Length: 3", method="POST", body=b"abc"))
                await peer.response()
        (row,) = mesh.worker.recorder.requests.rows.values()
        assert (row[RECEIVED_SUM], row[SENT_SUM]) == (3, 7)


async def test_endpoints_are_counted_apart_and_labels_follow_a_push() -> None:
    async with running() as mesh, upstream() as server:
        mesh.push(service("web"))
        pod = mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.get()
            mesh.push(replace(pod, workload_name="web-v1", canonical_revision="v1"))
            await peer.get()
            mesh.push(replace(pod, workload_name="web-v2", canonical_revision="v2"))
            await peer.get()
            await peer.get()
        assert counted(mesh, "destination_workload", "destination_version") == {
            ("unknown", "unknown"): 1, ("web-v1", "v1"): 1, ("web-v2", "v2"): 2,
        }  # fmt: skip


async def test_what_went_wrong_is_told_by_code_and_flags() -> None:
    gone = {"match": {"path": "/gone"}, "directResponse": {"status": 410}}
    away = {"match": {"path": "/away"}, "route": {"cluster": "outbound|80||no.where"}}
    rest = {"match": {"prefix": "/web"}, "route": to("web")}
    async with running() as mesh:
        mesh.push(service("web", routes("web", host(gone, away, rest))))
        mesh.ask("web")
        for path in ("/gone", "/away", "/none", "/web"):
            async with client(mesh) as peer:
                await peer.get(path)
        mesh.pod("web-1", "web", closed_port())
        async with client(mesh) as peer:
            await peer.get("/web")
        assert counted(mesh, "response_code", "response_flags", "destination_service_name") == {
            ("410", "-", "web"): 1,
            ("503", "NC", "unknown"): 1,
            ("404", "NR", "web"): 1,
            ("503", "UH", "web"): 1,
            ("503", "UF", "web"): 1,
        }
        # Who couldn't be reached is told too.
        assert counted(mesh, "response_flags", "destination_principal")["UF", WHO] == 1


async def test_a_copy_is_nobody_s_request() -> None:
    route = to("web", requestMirrorPolicies=[{"cluster": to("copy")["cluster"]}])
    async with running() as mesh, upstream() as server, upstream() as other:
        mesh.push(
            service("web", routes("web", host({"match": {"prefix": "/"}, "route": route}))),
            service("copy"),
        )
        mesh.pod("web-1", "web", server.port)
        mesh.pod("copy-1", "copy", other.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            await peer.get()
        await until(lambda: other.heads)
        assert counted(mesh, "destination_service_name") == {("web",): 1}


async def test_grpc_s_status_is_a_label() -> None:
    async with running() as mesh, upstream2(echo2) as server:
        mesh.push(service("web", speaks=AppProtocol.GRPC))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client2(mesh) as peer:
            call = (("content-type", "application/grpc"), ("te", "trailers"))
            await peer.response(await peer.get("/a.B/C", *call))
            await peer.response(await peer.get("/a"))
        found = counted(mesh, "request_protocol", "response_code", "grpc_response_status")
        assert found["http", "200", ""] == 1
        assert sum(n for labels, n in found.items() if labels[0] == "grpc") == 1


@pytest.mark.parametrize("on", [True, False])
async def test_without_a_log_they_are_counted_all_the_same(on: bool) -> None:
    async with running() as mesh, upstream() as server:
        mesh.worker.log.on = on
        serve(mesh, server.port)
        async with client(mesh) as peer:
            await peer.get()
            await peer.send(b"no request\r\n\r\n")
            await peer.rest()
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await peer.send(b"x")
        await until(lambda: not mesh.worker.relays)
        mesh.worker.log.flush()
        assert flags(mesh) == {("200", "-"): 1}
        assert len("".join(mesh.log).splitlines()) == (3 if on else 0)


def streams(mesh: Mesh) -> dict[str, tuple[int, ...]]:
    """Opened, closed, received and sent, by response flags."""
    return {
        dict(zip(STREAM, labels, strict=True))["response_flags"]: tuple(row)
        for labels, row in mesh.worker.recorder.streams.rows.items()
    }


async def test_a_relay_s_bytes_are_counted_while_it_is_open() -> None:
    async with running() as mesh, upstream(echo) as server:
        serve(mesh, server.port)
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await peer.send(b"hello")
            await peer.exactly(5)
            (relay,) = mesh.worker.relays
            relay.tell()
            relay.tell()
            assert streams(mesh) == {"-": (1, 0, 5, 5)}
            await peer.send(b"abc")
            await peer.exactly(3)
        await until(lambda: not mesh.worker.relays)
        assert streams(mesh) == {"-": (1, 1, 8, 8)}


async def test_a_relay_that_leads_nowhere_says_why() -> None:
    async with running() as mesh:
        serve(mesh, closed_port())
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await peer.exactly(1)
        assert streams(mesh) == {"UF": (1, 1, 0, 0)}
        (labels,) = mesh.worker.recorder.streams.rows
        assert dict(zip(STREAM, labels, strict=True))["destination_principal"] == WHO
