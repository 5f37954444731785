"""What tunnels from other nodes may cost, and why they weren't served."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Limits:
    """What other nodes may cost at a time: TLS handshakes, connections, tunnels."""

    handshakes: int = 512
    connections_of_one_pod: int = 2048
    connections_of_all: int = 8192
    tunnels_of_one_pod: int = 16384
    tunnels_of_all: int = 65536


class Bound(Enum):
    """What was bounded, or wrong, where a connection or tunnel was refused."""

    HANDSHAKES = "TLS handshakes at a time"
    CONNECTIONS = "HBONE connections"
    TUNNELS = "tunnels"
    CERTIFICATE = "no certificate to show"
    HANDSHAKE = "a client's TLS handshake"
    IDENTITY = "a client's certificate"
    REQUEST = "a request that is no CONNECT of use"
    PORT = "a port that nobody enrolled there has, or not with the account that was shown"
