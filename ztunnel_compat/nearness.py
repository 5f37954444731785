"""How near an endpoint is to a client, by a service's routing preference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ztunnel_compat.model import Locality, Scope


class Located(Protocol):
    """What has a place: a workload, or who asks for one."""

    @property
    def locality(self) -> Locality:
        """Region, zone and subzone."""
        ...

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def cluster_id(self) -> str:
        """The cluster's name."""
        ...

    @property
    def network(self) -> str:
        """The network's name."""
        ...


def rank(preference: Sequence[Scope], client: Located, endpoint: Located) -> int:
    """How many scopes both share, from the first on and up to the first that they don't.

    As ztunnel's load_balance (src/state.rs): two empty values are equal.
    """
    for number, scope in enumerate(preference):
        if not shares(scope, client, endpoint):
            return number
    return len(preference)


def shares(scope: Scope, client: Located, endpoint: Located) -> bool:
    """Whether both have this in common; nothing is shared by UNSPECIFIED."""
    match scope:
        case Scope.REGION:
            return client.locality.region == endpoint.locality.region
        case Scope.ZONE:
            return client.locality.zone == endpoint.locality.zone
        case Scope.SUBZONE:
            return client.locality.subzone == endpoint.locality.subzone
        case Scope.NODE:
            return client.node == endpoint.node
        case Scope.CLUSTER:
            return client.cluster_id == endpoint.cluster_id
        case Scope.NETWORK:
            return client.network == endpoint.network
        case _:
            return False
