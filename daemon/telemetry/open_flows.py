"""Connections that are open: their bytes so far, and flows without a socket.

The kernel sums a connection when it closes. One that lasts is asked after: its
pod's network namespace tells how much its socket has moved. The same answer shows
which flows have no socket any more, because a namespace died unseen by the hooks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bpf.addresses import mapped
from bpf.errors import NetnsError
from bpf.flows import Flows
from bpf.layout import Flow, FlowFlag, FlowKey, TrafficKey
from bpf.netns import in_netns
from daemon.sock_diag import CONNECTED, SockDiag, Socket

logger = logging.getLogger(__name__)

#: Nanoseconds after which a connection isn't a short one, and a flow may be stale.
LASTING: Final = 5_000_000_000
SURELY_STALE: Final = 60_000_000_000
#: Lasting connections that are asked after.
MOST: Final = 50_000
#: TRAFFIC_FLAGS of include/telemetry.h.
TRAFFIC_FLAGS: Final = FlowFlag.WAYPOINT | FlowFlag.SERVICE | FlowFlag.PROBE | FlowFlag.OUTSIDE

Entry = tuple[FlowKey, Flow]


@dataclass(slots=True)
class Found:
    """One look at the flow map and the sockets.

    live: open connections, with bytes sent and received; stale: flows without a
    socket; flows: all entries; skipped: lasting ones beyond MOST.
    """

    live: list[tuple[Entry, int, int]] = field(default_factory=list)
    stale: list[Entry] = field(default_factory=list)
    flows: int = 0
    skipped: int = 0


class OpenFlows:
    """Asks after the flows of enrolled pods, by the cookies of their netns.

    Everything here blocks, and may be called from any thread.
    """

    def __init__(self, flows: Flows, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.flows = flows
        self.clock = clock
        self.pods: dict[int, SockDiag] = {}
        self.swept = 0

    def hold(self, cookie: int, netns_fd: int) -> None:
        """Ask after a pod's connections from now on; the netns stays until ``drop``."""
        if cookie in self.pods:
            return
        try:
            with in_netns(netns_fd):
                self.pods[cookie] = SockDiag()
        except (OSError, NetnsError) as error:
            logger.warning("netns cookie %d: sockets can't be asked for: %s", cookie, error)

    def drop(self, cookie: int) -> None:
        """Let a pod's network namespace go."""
        asked = self.pods.pop(cookie, None)
        if asked is not None:
            asked.close()

    def close(self) -> None:
        """Let all go."""
        for cookie in list(self.pods):
            self.drop(cookie)

    def look(self) -> Found:
        """Look at the flows that last, then at the sockets of their namespaces.

        In this order: a flow whose socket is alive finds it in the answer.
        """
        found = Found()
        lasting: dict[int, list[Entry]] = {}
        now = self.clock()
        for key, flow in self.flows.items():
            found.flows += 1
            if flow.netns in self.pods and now - flow.started > LASTING:
                if found.flows - found.skipped > MOST:
                    found.skipped += 1
                else:
                    lasting.setdefault(flow.netns, []).append((key, flow))
        for cookie, entries in lasting.items():
            sockets = self.sockets(cookie)
            if sockets is not None:
                sort_out(entries, sockets, now, found)
        return found

    def sockets(self, cookie: int) -> dict[FlowKey, Socket] | None:
        """A pod's sockets by their tuple; None when they can't be had."""
        asked = self.pods.get(cookie)
        if asked is None:
            return None
        try:
            return {flow_key(one): one for one in asked.dump(*CONNECTED, counted=True)}
        except OSError as error:
            if cookie in self.pods:
                logger.warning("netns cookie %d: no answer about sockets: %s", cookie, error)
            return None

    def still_open(self, found: Found) -> list[tuple[TrafficKey, int, int]]:
        """Of what was live, what is still: its bytes aren't in the kernel's sums yet."""
        return [
            (traffic_key(flow), sent, received)
            for (key, flow), sent, received in found.live
            if self.same(key, flow)
        ]

    def sweep(self, stale: list[Entry]) -> int:
        """Delete flows without a socket; how many.

        One whose tuple a new connection has taken meanwhile is another flow. (One
        that takes it between the look and the deletion, microseconds, loses it.)
        """
        swept = 0
        for key, flow in stale:
            if self.same(key, flow) and self.flows.delete(key):
                swept += 1
        self.swept += swept
        if swept:
            logger.info("deleted %d flows that have no socket any more", swept)
        return swept

    def same(self, key: FlowKey, flow: Flow) -> bool:
        """Whether a flow is still there."""
        now = self.flows.get(key)
        return now is not None and now.started == flow.started


def sort_out(
    entries: list[Entry], sockets: dict[FlowKey, Socket], now: int, found: Found
) -> None:
    """Tell live flows of a namespace from stale ones."""
    for key, flow in entries:
        plain = FlowKey(key.source, key.destination, key.source_port, key.destination_port)
        one = sockets.get(plain)
        if one is None:
            if now - flow.started > SURELY_STALE:
                found.stale.append((key, flow))
        elif flow.established and not key.netns and not flow.flags & FlowFlag.TUNNELLED:
            found.live.append(((key, flow), *one.payload()))


def flow_key(one: Socket) -> FlowKey:
    """A socket's connection, as flows that aren't loopback's are called."""
    return FlowKey(mapped(one.local), mapped(one.remote), one.local_port, one.remote_port)


def traffic_key(flow: Flow) -> TrafficKey:
    """What the kernel will sum this flow under."""
    return TrafficKey(flow.source, flow.target, flow.destination, flow.flags & TRAFFIC_FLAGS)
