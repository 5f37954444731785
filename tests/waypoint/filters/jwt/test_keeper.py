"""Keys from servers that are slow, down, rotated or huge, as requests meet them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.waypoint.filters.jwt.served import (
    KEYS,
    OTHER_KEYS,
    KeyServer,
    authentication,
    counted,
    key_server,
    provider,
    remote,
    tokens,
)
from tests.waypoint.filters.jwt.tokens import OTHER, claims, token
from tests.waypoint.mesh import HTTP_PORT, Mesh, hostname, running, service, until
from tests.waypoint.wire import Peer, Upstream, client, upstream
from waypoint.filters.jwt import keeper as module

SOONEST = 0.02


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are renewed, and tried again, after moments."""
    monkeypatch.setattr(module, "SOONEST", SOONEST)
    monkeypatch.setattr(module, "AGAIN_FIRST", SOONEST)
    monkeypatch.setattr(module, "AGAIN_MOST", SOONEST)


@asynccontextmanager
async def asking(*providers: dict[str, Any]) -> AsyncIterator[tuple[Mesh, Upstream]]:
    """A service that asks for a token of one of the providers."""
    async with running() as mesh, upstream() as server:
        mesh.push(service("web", tokens("web", authentication(*providers))))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        yield mesh, server


def bearer(**more: Any) -> str:
    return f"Authorization: Bearer {token(**more)}"


def dumped(mesh: Mesh, server: KeyServer) -> dict[str, Any]:
    assert mesh.worker.jwks is not None
    found: dict[str, Any] = mesh.worker.jwks.dump()[server.uri]
    return found


async def status(peer: Peer, *lines: str, path: str = "/") -> tuple[int, bytes]:
    head, body = await peer.get(path, *lines)
    return int(head.split()[1]), body


async def test_keys_are_fetched_when_they_are_named() -> None:
    async with key_server() as keys, asking(remote(keys.uri)) as (mesh, server):
        await until(lambda: counted(mesh, "jwks.fetch_success"))
        async with client(mesh) as peer:
            assert (await status(peer, bearer()))[0] == 200
            answer = await status(peer, bearer(by="rsa-eve"))
            assert answer == (401, b"Jwt verification fails")
        assert b"authorization" not in server.heads[0].lower()
        assert b"accept: application/json" in keys.heads[0].lower()
        told = dumped(mesh, keys)
        assert (told["keys"], told["error"], told["fetches"]) == (["r1"], "", 1)


async def test_requests_wait_for_the_first_fetch_and_others_do_not() -> None:
    async with key_server() as keys:
        keys.open.clear()
        async with asking(remote(keys.uri)) as (mesh, server):
            mesh.push(service("plain"))
            mesh.pod("plain-1", "plain", server.port)
            async with client(mesh) as peer:
                good, none = bearer(), bearer(payload=claims(exp=1))
                first = asyncio.create_task(status(peer, good))
                await until(lambda: mesh.worker.stats.requests == 1)
                async with client(mesh) as other:
                    # What needs no key is told at once.
                    assert await status(other, none) == (401, b"Jwt is expired")
                    assert await status(other) == (401, b"Jwt is missing")
                mesh.ask("plain")
                async with client(mesh) as other:
                    assert (await status(other))[0] == 200
                assert not first.done()
                keys.open.set()
                assert (await first)[0] == 200
                assert mesh.worker.stats.filters["jwt_authn.allowed"] == 1


async def test_a_slow_server_is_waited_for_no_longer_than_said() -> None:
    async with key_server() as keys:
        keys.open.clear()
        slow = remote(keys.uri, timeout="0.05s")
        async with asking(slow) as (mesh, server), client(mesh) as peer:
            answer = await status(peer, bearer())
            assert answer == (401, b"Jwks remote fetch is failed")
            await until(lambda: counted(mesh, "jwks.fetch_failed"))
            assert dumped(mesh, keys)["error"] == "no answer within 0.05 s"
            # Whom it refused for want of keys gets through once there are any.
            keys.open.set()
            await until(lambda: dumped(mesh, keys)["keys"])
            assert (await status(peer, bearer()))[0] == 200
        assert len(server.heads) == 1


async def test_a_server_that_is_down() -> None:
    async with asking(remote("http://127.0.0.1:1/keys")) as (mesh, server):
        async with client(mesh) as peer:
            assert await status(peer, bearer()) == (401, b"Jwks remote fetch is failed")
        assert server.heads == []
        lines = await mesh.lines(1)
        assert "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}" in lines[0]


@pytest.mark.parametrize(
    ("body", "answer", "said"),
    [
        (b"x" * (2 << 20), "200 OK", "more than 1048576 bytes"),
        (b"<html>", "200 OK", "Jwks is an invalid JSON"),
        (KEYS.encode(), "503 Away", "status 503"),
        (KEYS.encode(), "302 Elsewhere\r\nLocation: /other", "status 302"),
    ],
)
async def test_answers_that_are_no_keys(body: bytes, answer: str, said: str) -> None:
    async with key_server() as keys:
        keys.body, keys.status = body, answer
        async with asking(remote(keys.uri)) as (mesh, _), client(mesh) as peer:
            assert await status(peer, bearer()) == (401, b"Jwks remote fetch is failed")
            assert said in dumped(mesh, keys)["error"]


async def test_rotated_keys_take_over_and_what_was_remembered_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    often = {"cache_duration": f"{SOONEST}s"}
    async with (
        key_server() as keys,
        asking(remote(keys.uri, **often)) as (mesh, _),
        client(mesh) as peer,
    ):
        old, new = bearer(), bearer(by="rsa-new")
        assert (await status(peer, new))[0] == 401
        assert (await status(peer, old))[0] == 200
        assert (await status(peer, old))[0] == 200
        keys.body = OTHER_KEYS.encode()
        await until(lambda: dumped(mesh, keys)["keys"] == ["r2"])
        assert await status(peer, old) == (401, b"Jwt verification fails")
        assert (await status(peer, new))[0] == 200
        # While its server is away, what there is stays in force.
        keys.status = "500 Broken"
        with caplog.at_level(logging.ERROR):
            await until(lambda: counted(mesh, "jwks.fetch_failed") > 2)
        assert (await status(peer, new))[0] == 200
        assert dumped(mesh, keys)["error"] == "status 500"
        said = [r.message for r in caplog.records if "status 500" in r.message]
        assert said == [f"keys of {keys.uri}: status 500; those from before stay in force"]
        keys.status = "200 OK"
        await until(lambda: dumped(mesh, keys)["error"] == "")


async def test_a_new_configuration_keeps_what_was_fetched() -> None:
    async with key_server() as keys, asking(remote(keys.uri)) as (mesh, _):
        await until(lambda: counted(mesh, "jwks.fetch_success"))
        keys.open.clear()
        changed = remote(keys.uri) | {"forward": True}
        mesh.push(service("web", tokens("web", authentication(changed))))
        async with client(mesh) as peer:
            assert (await status(peer, bearer()))[0] == 200
        assert len(keys.heads) == 1
        assert mesh.worker.jwks is not None
        (entry,) = mesh.worker.jwks.entries.values()
        task = entry.task
        assert task is not None
        mesh.push(service("web", tokens("web", authentication(provider()))))
        assert mesh.worker.jwks.dump() == {}
        await until(task.cancelled)


async def test_keys_come_through_the_mesh() -> None:
    async with key_server() as keys, running() as mesh, upstream() as server:
        cluster = f"outbound|{HTTP_PORT}||{hostname('keys')}"
        uri = f"http://{hostname('keys')}/keys"
        asked = tokens("web", authentication(remote(uri, cluster)))
        mesh.push(service("keys", mine=False))
        mesh.pod("keys-1", "keys", keys.port)
        mesh.push(service("web", asked))
        mesh.pod("web-1", "web", server.port)
        mesh.ask("web")
        async with client(mesh) as peer:
            assert (await status(peer, bearer()))[0] == 200
        assert keys.heads[0].startswith(b"GET /keys HTTP/1.1\r\nhost: keys.apps.svc")
        # A fetch is no client's request: the access log has one line.
        assert len(await mesh.lines(1)) == 1


async def test_an_issuer_says_where_its_keys_are() -> None:
    async with key_server() as keys:
        issuer = f"http://127.0.0.1:{keys.port}/i"
        page = "/i/.well-known/openid-configuration"
        said = f'{{"issuer": "{issuer}", "jwks_uri": "{keys.uri}"}}'
        keys.pages[page] = said.encode()
        asked = remote(f"http://127.0.0.1:{keys.port}{page}") | {"issuer": issuer}
        async with asking(asked) as (mesh, _), client(mesh) as peer:
            good = bearer(payload=claims(iss=issuer))
            assert (await status(peer, good))[0] == 200
        assert [head.split()[1] for head in keys.heads] == [page.encode(), b"/keys"]


async def test_two_providers_are_waited_for_together() -> None:
    async with key_server() as slow, key_server() as fast:
        slow.open.clear()
        fast.open.clear()
        two = remote(slow.uri, timeout="0.1s"), remote(fast.uri) | {"issuer": OTHER}
        async with asking(*two) as (mesh, _), client(mesh) as peer:
            asked = asyncio.create_task(status(peer, bearer(payload=claims(iss=OTHER))))
            await until(lambda: mesh.worker.stats.requests)
            fast.open.set()
            assert (await asked)[0] == 200


async def test_retries_within_one_fetch() -> None:
    pauses = {"base_interval": "0.001s", "max_interval": "0.002s"}
    policy = {"num_retries": 2, "retry_back_off": pauses}
    async with key_server() as keys:
        keys.status = "503 Away"
        more = {"retry_policy": policy, "async_fetch": {"failed_refetch_duration": "60s"}}
        async with asking(remote(keys.uri, **more)) as (mesh, _), client(mesh) as peer:
            assert (await status(peer, bearer()))[0] == 401
            assert len(keys.heads) == 3
            assert dumped(mesh, keys)["failures"] == 3


async def test_so_many_are_fetched_at_a_time() -> None:
    async with key_server() as keys, running() as mesh:
        assert mesh.worker.jwks is not None
        mesh.worker.jwks.room = asyncio.Semaphore(1)
        keys.open.clear()
        two = remote(keys.uri), remote(f"{keys.uri}2") | {"issuer": OTHER}
        mesh.push(service("web", tokens("web", authentication(*two))))
        await until(lambda: keys.heads)
        entries = mesh.worker.jwks.entries.values()
        assert [entry.held.pending for entry in entries] == [True, True]
        assert len(keys.heads) == 1
        keys.open.set()
        await until(lambda: all(entry.held.keys for entry in entries))
        assert len(keys.heads) == 2


async def test_sources_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    async with key_server() as keys:
        two = remote(keys.uri), remote(f"{keys.uri}2") | {"issuer": OTHER}
        async with asking(*two) as (mesh, _), client(mesh) as peer:
            assert (await status(peer, bearer()))[0] == 200
            answer = await status(peer, bearer(payload=claims(iss=OTHER)))
            assert answer == (401, b"Jwks remote fetch is failed")
            assert counted(mesh, "jwks.overflow")
        assert {head.split()[1] for head in keys.heads} == {b"/keys"}
