from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.ztunnel_compat.runtime.alone import alone
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.errors import ListenError

READY = "http://127.0.0.1:15021/healthz/ready"
ADMIN = "http://127.0.0.1:15000"


async def test_ready_only_when_nothing_is_missing() -> None:
    async with alone(Admin()) as (admin, session):
        admin.unready = "no complete push yet"
        async with session.get(READY) as response:
            assert response.status == 503
            assert await response.text() == "not ready: no complete push yet\n"
        admin.unready = ""
        async with session.get(READY) as response:
            assert response.status == 200
        async with session.get("http://[::1]:15021/healthz/ready") as response:
            assert response.status == 200


async def test_pages_are_json_and_others_are_named() -> None:
    async with alone(Admin()) as (admin, session):
        admin.pages["/config_dump"] = lambda: {"services": {"app/web": {}}}
        async with session.get(f"{ADMIN}/config_dump") as response:
            assert response.content_type == "application/json"
            assert await response.json() == {"services": {"app/web": {}}}
        async with session.get(f"{ADMIN}/stats") as response:
            assert response.status == 404
            assert "/config_dump" in await response.text()


async def test_the_admin_pages_are_for_this_netns_only() -> None:
    async with alone(Admin()) as (_admin, session):
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("http://[::1]:15000/config_dump")


async def test_all_of_it_on_a_unix_socket(tmp_path: Path) -> None:
    admin = Admin(tmp_path / "admin.sock")
    admin.pages["/config_dump"] = lambda: {"a": 1}
    connector = aiohttp.UnixConnector(str(tmp_path / "admin.sock"))
    try:
        await admin.start()
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get("http://it/healthz/ready") as response:
                assert (response.status, await response.text()) == (
                    503,
                    "not ready: starting\n",
                )
            async with session.get("http://it/config_dump") as response:
                assert await response.json() == {"a": 1}
    finally:
        await admin.close()


async def test_a_port_in_use_is_said() -> None:
    async with alone(Admin()):
        second = Admin()
        try:
            with pytest.raises(ListenError) as caught:
                await second.start()
        finally:
            await second.close()
        assert "port 15021" in str(caught.value)
        assert "is another one of us running here?" in str(caught.value)
