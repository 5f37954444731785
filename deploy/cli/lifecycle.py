"""`tandem up`, `down` and `clean`: the life of a mesh."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace
from deploy.cli.problems import relay_problems
from deploy.cli.services import addresses, bookinfo_page
from deploy.standalone.client import ControlClient, ControlError
from deploy.standalone.config import (
    ACCESS_LOGS,
    TRUST_DOMAIN,
    ConfigError,
    MeshConfig,
    node_names,
)
from deploy.standalone.runner.app import Mesh
from deploy.standalone.runner.cleanup import cleanup
from deploy.standalone.runner.errors import RunnerError, StartError
from deploy.standalone.runner.lock import runner_pid

# Pods are waited for this long before the addresses are shown all the same, and a line
# says each few seconds which are missing.
PODS_SECONDS = 30.0
PATIENCE_SECONDS = 3.0
DOWN_SECONDS = 60.0


def do_up(args: Namespace) -> int:
    """Run a mesh until SIGINT or SIGTERM; 0 if it then ended well."""
    _require_root("up")
    config = mesh_config(
        args.name,
        args.pod_cidr,
        args.service_cidr,
        nodes=args.nodes,
        trust_domain=args.trust_domain,
        same_node_mtls=args.same_node_mtls,
        access_log=args.access_log,
    )
    logging.basicConfig(
        level=logging.WARNING, format="tandem: %(message)s", stream=sys.stderr, force=True
    )
    try:
        asyncio.run(_run(config, [Path(file) for file in args.file]))
    except RunnerError as error:
        # With the end of a process's log, or all that is missing: worth its lines.
        print(f"tandem: {error}", file=sys.stderr)
        return 1
    return 0


def do_down(args: Namespace) -> int:
    """End a running mesh and wait until it is gone."""
    _require_root("down")
    place = MeshPlace(args.name)
    place.require()
    pid = runner_pid(place.config)
    if pid is None:
        raise place.not_running()
    try:
        ended = os.pidfd_open(pid)
        signal.pidfd_send_signal(ended, signal.SIGTERM)
    except ProcessLookupError:
        return 0
    deadline = time.monotonic() + DOWN_SECONDS
    with os.fdopen(ended, "rb"):
        while not select.select([ended], [], [], 2.0)[0]:
            if time.monotonic() > deadline:
                raise CommandError(f"process {pid} does not end: see what it waits for")
            _say(f"waiting for process {pid}, which takes the mesh down")
    return 0


def do_clean(args: Namespace) -> int:
    """Remove what a mesh that doesn't run any more has left."""
    _require_root("clean")
    try:
        found = asyncio.run(cleanup(args.name))
    except RunnerError as error:
        raise CommandError(str(error)) from error
    print(f"removed {', '.join(found)}" if found else f"nothing is left of mesh {args.name}")
    return 0


def mesh_config(
    name: str,
    pods: Sequence[IPv4Network | IPv6Network],
    services: Sequence[IPv4Network | IPv6Network],
    *,
    nodes: int = 1,
    trust_domain: str = TRUST_DOMAIN,
    same_node_mtls: bool = False,
    access_log: str = ACCESS_LOGS[0],
) -> MeshConfig:
    """The configuration with these ranges, at most one per family; others are default.

    nodes: how many; they are node1, node2 and so on.
    """
    ranges: dict[str, Any] = {}
    for kind, cidrs in (("pod", pods), ("service", services)):
        for cidr in cidrs:
            key = f"{kind}_cidr{cidr.version}"
            if key in ranges:
                raise CommandError(f"--{kind}-cidr {cidr}: there is {ranges[key]} already")
            ranges[key] = cidr
    try:
        return MeshConfig(
            name=name,
            nodes=node_names(nodes),
            trust_domain=trust_domain,
            same_node_mtls=same_node_mtls,
            access_log=access_log,
            **ranges,
        )
    except ConfigError as error:
        raise CommandError(str(error)) from error


async def _run(config: MeshConfig, files: Sequence[Path]) -> None:
    """The mesh from its beginning to its end, which the first signal asks for."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    running = asyncio.current_task()
    assert running is not None

    def end() -> None:
        # Once only: a second cancellation would cut the taking down short.
        if not ending.is_set():
            ending.set()
            _say("taking the mesh down")
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    started = time.monotonic()
    try:
        async with Mesh(config, files=files, progress=_say) as mesh:
            mesh.tasks.spawn(
                relay_problems(config.process_log("control"), _say), "manifest problems"
            )
            await mesh.wait(_serve(mesh, started))
    except asyncio.CancelledError:
        if not ending.is_set():
            raise


async def _serve(mesh: Mesh, started: float) -> None:
    """Show where the services are as soon as pods are ready; never returns."""
    await _pods_ready(mesh)
    seconds = time.monotonic() - started
    name = mesh.config.name
    print(f"mesh {name} is up ({seconds:.1f} s); Ctrl-C takes it down", flush=True)
    try:
        snapshot = await asyncio.to_thread(ControlClient(mesh.config.control_socket).snapshot)
    except ControlError as error:
        _say(str(error))
    else:
        print(f"\n{addresses(snapshot['services'])}\n", flush=True)
        if page := bookinfo_page(snapshot["services"]):
            print(f"bookinfo: {page}", flush=True)
    await asyncio.Event().wait()


async def _pods_ready(mesh: Mesh) -> None:
    """Wait for all pods, but not for ever; says which are missing when that changes."""
    deadline = time.monotonic() + PODS_SECONDS
    said = ""
    while time.monotonic() < deadline:
        try:
            await mesh.wait_ready(seconds=PATIENCE_SECONDS)
        except StartError as error:
            if str(error) != said:
                said = str(error)
                _say(said)
        else:
            return


def _require_root(command: str) -> None:
    if os.geteuid() != 0:
        raise CommandError(
            f"tandem {command} must run as root: it makes network namespaces and loads"
            " programs into the kernel; use sudo"
        )


def _say(text: str) -> None:
    print(f"tandem: {text}", file=sys.stderr, flush=True)
