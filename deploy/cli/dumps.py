"""`tandem dump`: what a part of the mesh knows."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from bpf.netns import in_netns
from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace, one
from deploy.cli.pods import resolve
from deploy.standalone.config import NETNS_DIR

ADMIN_PORT = 15000
# The label that Gateway API puts on what belongs to a Gateway.
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"


def do_dump(args: Namespace) -> int:
    """Print what a node's daemon, a waypoint or the control plane knows, as JSON."""
    place = MeshPlace(args.name)
    match args.part:
        case "control":
            content = place.control().dump()
        case "node":
            content = admin_dump(*_node(place, args.who))
        case _:
            content = admin_dump(*_waypoint(place, args.who))
    print(json.dumps(content, indent=2))
    return 0


def admin_dump(netns: Path, what: str) -> dict[str, Any]:
    """GET /config_dump of the process `what` that has its admin port in a netns."""
    try:
        with netns.open("rb") as namespace, in_netns(namespace.fileno()):
            connection = HTTPConnection("127.0.0.1", ADMIN_PORT, timeout=10)
            connection.connect()
    except FileNotFoundError:
        raise CommandError(f"{what} has no network namespace {netns}") from None
    except (TimeoutError, ConnectionError) as error:
        raise CommandError(f"{what} does not answer on its admin port: {error}") from error
    try:
        connection.request("GET", "/config_dump")
        content: dict[str, Any] = _decode(connection.getresponse())
    except (OSError, HTTPException, ValueError) as error:
        raise CommandError(f"{what}: /config_dump: {error}") from error
    finally:
        connection.close()
    return content


def _decode(reply: HTTPResponse) -> Any:
    content = reply.read()
    if reply.status != 200:
        raise ValueError(f"HTTP status {reply.status}")
    return json.loads(content)


def _node(place: MeshPlace, wanted: str | None) -> tuple[Path, str]:
    name = place.node(wanted)
    return NETNS_DIR / place.config.node_netns(name), f"the daemon of node {name}"


def _waypoint(place: MeshPlace, wanted: str | None) -> tuple[Path, str]:
    """Its pod's netns. With a name, this needs no control plane."""
    if wanted is None:
        wanted = one(waypoints(place.control().snapshot()), None, "waypoint")
    namespace, _, name = wanted.rpartition("/")
    pod = resolve(place.pods(), f"deploy/{name}", namespace or None)
    return Path(pod.netns), f"waypoint {pod.namespace}/{name}"


def waypoints(snapshot: Mapping[str, Any]) -> list[str]:
    """The waypoints of a snapshot of the control plane, as namespace/name."""
    return sorted(
        {
            f"{pod['namespace']}/{pod['labels'][GATEWAY_NAME]}"
            for pod in snapshot["pods"]
            if GATEWAY_NAME in pod["labels"]
        }
    )
