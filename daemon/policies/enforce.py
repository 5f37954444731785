"""Closes connections that a policy denies now and didn't when they were made.

A pod's inbound connections are those of which it has no flow as the source, and
whose port is listened on or whose peer has one. Who made them is in the peer's
flow, as at the SYN. Left alone are probes, connections to the identity port and
what comes over loopback, of which no policy is asked either; HBONE and what it brings,
whose clients certificates name, to who ends it; and connections whose client has closed
and gone: it can send nothing, and what it sent may be unread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address

from bpf.addresses import mapped
from bpf.flows import Flows
from bpf.layout import FlowFlag, FlowKey, TunnelPort
from bpf.netns import in_netns
from daemon.sock_diag import OPEN, SockDiag, Socket, TcpState
from ztunnel_compat.identity import Identity
from ztunnel_compat.policy import Policy
from ztunnel_compat.rbac import Connection, Decision, evaluate

#: Flows of which no policy is asked here.
UNJUDGED = FlowFlag.PROBE | FlowFlag.TUNNELLED


@dataclass(frozen=True, slots=True)
class Rules:
    """What a pod's connections are judged by.

    identity: by hash; None for one that isn't known. port: the identity port, or 0.
    ports: those that are judged, where others share the address; None: all.
    """

    policies: Sequence[Policy]
    identity: Callable[[int], Identity | None]
    port: int = 0
    ports: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection that was closed, and by which decision."""

    connection: Connection
    source_port: int
    decision: Decision

    def __str__(self) -> str:
        who = self.connection.identity or "nobody known"
        source = ip_address(self.connection.source)
        target = ip_address(self.connection.destination)
        why = f"{self.decision.reason.value} {self.decision.policy}".rstrip()
        return (
            f"connection of {who} from {source} {self.source_port} to "
            f"{target} {self.connection.port} closed: {why}"
        )


def close_denied(netns_fd: int, flows: Flows, rules: Rules) -> list[Closed]:
    """Close a network namespace's connections that are denied; blocks.

    Raises NetnsError, OSError or KernelError.
    """
    closed = []
    with in_netns(netns_fd), closing(SockDiag()) as diag:
        listened = {found.local_port for found in diag.dump(TcpState.LISTEN)}
        for found in diag.dump(*OPEN):
            denial = judge(found, listened, flows, rules)
            if denial is not None and diag.destroy(found):
                closed.append(denial)
    return closed


def judge(found: Socket, listened: set[int], flows: Flows, rules: Rules) -> Closed | None:
    """The denial of a connection, or None where it may go on."""
    if found.local_port in {rules.port, TunnelPort.HBONE}:
        return None
    if ip_address(found.local).is_loopback:
        return None
    if rules.ports is not None and found.local_port not in rules.ports:
        return None
    local, remote = mapped(found.local), mapped(found.remote)
    if flows.get(FlowKey(local, remote, found.local_port, found.remote_port)) is not None:
        return None
    flow = flows.get(FlowKey(remote, local, found.remote_port, found.local_port))
    if flow is None and (
        found.local_port not in listened or found.state == TcpState.CLOSE_WAIT
    ):
        return None
    if flow is not None and flow.flags & UNJUDGED:
        return None
    identity = rules.identity(flow.identity) if flow is not None and flow.identity else None
    connection = Connection(identity, found.remote, found.local, found.local_port)
    decision = evaluate(rules.policies, connection).enforced
    return None if decision.allowed else Closed(connection, found.remote_port, decision)
