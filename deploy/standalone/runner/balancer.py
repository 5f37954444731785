"""Keeps a node's nftables in step with the services."""

from __future__ import annotations

import asyncio
import logging
import subprocess

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.errors import BalancerError
from deploy.standalone.runner.netns import NetnsThread
from deploy.standalone.runner.ruleset import render
from deploy.standalone.runner.spec import ServiceView

logger = logging.getLogger(__name__)

TIMEOUT = 30.0
RETRY = 1.0


class Balancer:
    """One node's balancer.

    Changes that come while nft is at work are applied together afterwards, so
    there is at most one run under way and one waiting, however fast pods come
    and go.
    """

    def __init__(self, config: MeshConfig, node: str) -> None:
        self.config = config
        self.node = node
        self.thread = NetnsThread(config.node_netns(node))
        self.services: tuple[ServiceView, ...] = ()
        self.wanted = 0
        self.applied = 0
        self.rules = ""
        self.changed = asyncio.Condition()

    async def update(self, services: tuple[ServiceView, ...]) -> None:
        """Take new services; they are in force once ``settled`` returns."""
        async with self.changed:
            self.services = services
            self.wanted += 1
            self.changed.notify_all()

    async def settled(self) -> None:
        """Wait until everything that was taken by now is in force."""
        wanted = self.wanted
        async with self.changed:
            await self.changed.wait_for(lambda: self.applied >= wanted)

    async def run(self) -> None:
        """Apply changes for ever; rules that nft refuses are logged and tried again."""
        while True:
            async with self.changed:
                await self.changed.wait_for(lambda: self.applied < self.wanted)
                wanted, services = self.wanted, self.services
            rules = render(self.config, self.node, services)
            try:
                if rules != self.rules:
                    await self.thread.call(apply, rules)
                    self.rules = rules
            except BalancerError as error:
                logger.error("node %s keeps its old balancer rules: %s", self.node, error)
                await asyncio.sleep(RETRY)
                continue
            async with self.changed:
                self.applied = wanted
                self.changed.notify_all()

    def close(self) -> None:
        """End the balancer's thread; the rules go with the netns."""
        self.thread.close()


def apply(rules: str) -> None:
    """Run nft in the calling thread's netns; raises BalancerError if it refuses."""
    command = ["nft", "-f", "-"]
    try:
        result = subprocess.run(
            command, input=rules, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BalancerError(f"nft could not be run: {error}") from error
    if result.returncode:
        raise BalancerError(f"nft: {result.stderr.strip()[:500]}")
