"""Holds answers back after a start, until the nodes have said what runs.

A control plane that has just started knows no pod's address: answering at once
would withdraw every endpoint of a mesh that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

from deploy.standalone.control.errors import UnknownError

logger = logging.getLogger(__name__)

#: Seconds to wait for nodes that say nothing.
PATIENCE = 5.0


class Gate:
    """Open once every node has reported, or when patience has run out."""

    def __init__(self, nodes: Collection[str]) -> None:
        self.nodes = frozenset(nodes)
        self.waiting_for = set(nodes)
        self.complete = asyncio.Event()
        self.opened = asyncio.Event()

    def synced(self, node: str) -> None:
        """A node has sent the status of each of its pods; raises UnknownError."""
        if node not in self.nodes:
            raise UnknownError(f"there is no node {node!r}: {', '.join(sorted(self.nodes))}")
        self.waiting_for.discard(node)
        if not self.waiting_for:
            self.complete.set()

    async def wait_complete(self, patience: float = PATIENCE) -> None:
        """Wait until all nodes have reported, or patience (seconds) has run out."""
        try:
            await asyncio.wait_for(self.complete.wait(), patience)
        except TimeoutError:
            logger.warning(
                "no report from %s within %g s: answering without",
                ", ".join(sorted(self.waiting_for)),
                patience,
            )

    async def wait_open(self, seconds: float) -> None:
        """Wait until answers go through, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.opened.wait(), seconds)

    def open(self) -> None:
        """Let answers through."""
        self.opened.set()
