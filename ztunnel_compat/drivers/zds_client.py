"""Enrolment, the node agent's side: pods' network namespaces come in here."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Protocol

from ztunnel_compat.drivers.seqpacket import Packet, SeqPacket
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.runtime.backoff import Backoff
from ztunnel_compat.zds import (
    MAX_MESSAGE,
    AddWorkload,
    DelWorkload,
    KeepWorkload,
    SnapshotSent,
    decode_request,
    encode_ack,
    encode_hello,
)

logger = logging.getLogger(__name__)

RECONNECT_FIRST = 0.010
#: A pod's start waits for its enrolment, and a local socket costs nothing to try.
RECONNECT_MOST = 1.0


class ZdsHandler(Protocol):
    """What enrols pods; called for one request at a time, in the order sent."""

    async def add(self, workload: AddWorkload, netns_fd: int) -> str:
        """Enrol a pod, anew if it is already; an error's text, or "".

        netns_fd is closed afterwards: duplicate it to keep it.
        """

    async def remove(self, uid: str) -> None:
        """Un-enrol a pod; one that isn't known is fine."""

    async def snapshot_sent(self, kept: frozenset[str]) -> None:
        """Un-enrol every pod that isn't among these uids."""


class ZdsClient:
    """Stays connected to the socket at path and hands what comes to a handler."""

    def __init__(self, path: Path, handler: ZdsHandler, backoff: Backoff | None = None) -> None:
        self.path = path
        self.handler = handler
        self.backoff = backoff or Backoff(RECONNECT_FIRST, RECONNECT_MOST)
        self.connected = False
        self.connections = 0
        self.failed_adds = 0
        self.last_end = ""
        self.snapshot: set[str] | None = None

    async def run(self) -> None:
        """Serve until cancelled; connect again whenever the connection ends."""
        while True:
            try:
                await self.attempt()
                reason = "closed by the server"
            except (OSError, ZdsError) as error:
                reason = str(error)
            # The same failure over and over is one line.
            level = logging.DEBUG if reason == self.last_end else logging.WARNING
            logger.log(level, "enrolment over %s: %s; trying again", self.path, reason)
            self.last_end = reason
            await asyncio.sleep(self.backoff.next())

    async def attempt(self) -> None:
        """Work on one connection until it ends; raises OSError or ZdsError."""
        connection = SeqPacket.connect(self.path, MAX_MESSAGE)
        try:
            await connection.send(encode_hello())
            self.snapshot = set()
            self.connections += 1
            while (packet := await connection.receive()) is not None:
                if not self.connected:
                    self.connected = True
                    self.last_end = ""
                    logger.info("enrolment over %s is up", self.path)
                self.backoff.reset()
                try:
                    error = await self.handle(packet)
                finally:
                    packet.close()
                await connection.send(encode_ack(error))
        finally:
            self.connected = False
            connection.close()

    async def handle(self, packet: Packet) -> str:
        """Do what a request asks for; the ack's error. Raises ZdsError."""
        request = decode_request(packet.data, len(packet.descriptors))
        match request:
            case AddWorkload():
                self.note(request.uid)
                error = await self.handler.add(request, packet.descriptors[0])
                if error:
                    self.failed_adds += 1
                    logger.error("enrolling %s/%s: %s", request.namespace, request.name, error)
                return error
            case KeepWorkload():
                self.note(request.uid)
            case DelWorkload():
                if self.snapshot is not None:
                    self.snapshot.discard(request.uid)
                await self.handler.remove(request.uid)
            case SnapshotSent():
                if self.snapshot is None:
                    raise ZdsError("a second SnapshotSent on one connection")
                await self.handler.snapshot_sent(frozenset(self.snapshot))
                self.snapshot = None
        return ""

    def note(self, uid: str) -> None:
        """Remember what the snapshot lists, until it is complete."""
        if self.snapshot is not None:
            self.snapshot.add(uid)

    def status(self) -> dict[str, Any]:
        """The connection and its counters since the start, JSON-able."""
        return {
            "path": str(self.path),
            "connected": self.connected,
            "connections": self.connections,
            "failed_adds": self.failed_adds,
            "last_end": self.last_end,
        }
