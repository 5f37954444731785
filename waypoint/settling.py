"""What an exchange gives back: to its endpoint when an attempt ends, to the cluster when it
does itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waypoint.resilience.breakers import Resource
from waypoint.resilience.outlier import Outcome

if TYPE_CHECKING:
    from waypoint.exchange import Exchange

#: gRPC statuses that tell of an endpoint's health, as HTTP's.
GRPC_OUTCOMES = {2: 500, 4: 504, 12: 501, 13: 500, 14: 503, 15: 500}


def settle(exchange: Exchange) -> None:
    """Give back what the cluster counts of this beside its attempts."""
    if exchange.retrying and exchange.cluster is not None:
        exchange.cluster.breakers.default.free(Resource.RETRIES)
    if exchange.kept is not None:
        exchange.kept.release()
    if exchange.shadows and not exchange.complete:
        # The client broke off what it sent: so do its copies.
        for shadow in exchange.shadows:
            shadow.downstream_lost()


def outcome_of(status: int, grpc_status: bytes | None) -> int:
    """The status that a response counts as: gRPC's is in HTTP's words (Envoy's map)."""
    if grpc_status is None or not grpc_status.isdigit():
        return status
    return GRPC_OUTCOMES.get(int(grpc_status), status)


def leave(exchange: Exchange, outcome: int | Outcome | None) -> None:
    """The attempt at an endpoint is over; outcome: what it tells of the endpoint."""
    endpoint = exchange.endpoint
    if endpoint is None:
        return
    if exchange.waits:
        stop_waiting(exchange)
    exchange.endpoint = None
    endpoint.cluster.breakers.default.free(Resource.REQUESTS)
    endpoint.end(outcome)


def stop_waiting(exchange: Exchange) -> None:
    """It waits for no connection any more."""
    if exchange.waits and exchange.cluster is not None:
        exchange.waits = False
        exchange.cluster.breakers.default.free(Resource.PENDING)
