"""Where a token is good: at its node's addresses, or at its pod's."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import UnauthenticatedError
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.pods import PodName, PodStatus
from deploy.standalone.control.view import View

#: The service account of the nodes' agents, in a namespace that no manifest has.
AGENT_NAMESPACE = "tandem-system"
AGENT_ACCOUNT = "ztunnel"

NodeAddresses = Mapping[str, frozenset[IpAddress]]


@dataclass(frozen=True, slots=True)
class Caller:
    """A client whose token is good, where it came from."""

    claims: Claims
    address: IpAddress

    def __str__(self) -> str:
        return f"{self.claims} at {self.address}"

    @property
    def is_agent(self) -> bool:
        """Whether it is a node's agent."""
        return is_agent(self.claims)


def is_agent(claims: Claims) -> bool:
    """Whether a token is a node agent's."""
    return (claims.namespace, claims.service_account) == (AGENT_NAMESPACE, AGENT_ACCOUNT)


def check_place(
    claims: Claims,
    address: IpAddress,
    nodes: NodeAddresses,
    view: View,
    statuses: Mapping[PodName, PodStatus],
) -> Caller:
    """Hold a token's claims against what runs, and against the address it came from.

    Raises UnauthenticatedError: a token that was taken to another place is no proof.
    """
    if claims.node not in nodes:
        raise UnauthenticatedError(f"token: there is no node {claims.node!r} in this mesh")
    if is_agent(claims):
        own: frozenset[IpAddress] = nodes[claims.node]
        whose = f"node {claims.node}"
    else:
        own = pod_addresses(claims, view, statuses)
        whose = f"pod {claims.namespace}/{claims.pod}"
    if address not in own:
        raise UnauthenticatedError(
            f"token: it is good at {whose} alone, and {address} is no address of that"
        )
    return Caller(claims, address)


def pod_addresses(
    claims: Claims, view: View, statuses: Mapping[PodName, PodStatus]
) -> frozenset[IpAddress]:
    """The addresses of a token's pod; raises UnauthenticatedError for one that is gone."""
    name = (claims.namespace, claims.pod)
    known = view.pods.get(name)
    if known is None or known.pod.uid != claims.pod_uid:
        raise UnauthenticatedError(
            f"token: there is no pod {claims.namespace}/{claims.pod} of uid {claims.pod_uid}"
        )
    pod = known.pod
    if (pod.node, pod.template.service_account) != (claims.node, claims.service_account):
        raise UnauthenticatedError(
            f"token: pod {claims.namespace}/{claims.pod} is not {claims.service_account} on "
            f"{claims.node}"
        )
    status = statuses.get(name)
    return frozenset(status.ips) if status and status.uid == pod.uid else frozenset()


def address_of(peer: str) -> IpAddress:
    """The address of gRPC's ``ipv4:1.2.3.4:5`` or ``ipv6:%5B::1%5D:5``.

    Raises UnauthenticatedError for a peer that has none.
    """
    family, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UnauthenticatedError(f"peer {peer!r} has no IP address ({family})") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
