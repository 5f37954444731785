"""Pods send from their own addresses, or not at all.

A node knows which pod a packet is from by the interface that it came in by: its
source must be an address that is routed to there. So it is with what comes from other
nodes, none of which speaks for a pod of this one. Identity doesn't hang on it, as a
connection speaks for nobody whose kernel didn't make it; but a spoofed SYN for a
connection that its owner is opening at that moment is stopped here. In a cluster
that is the CNI plugin's work.
"""

from __future__ import annotations

from deploy.standalone.runner.balancer import apply
from deploy.standalone.runner.errors import BalancerError, NetworkError
from deploy.standalone.runner.wiring import POD_INTERFACE, UPLINK

#: A table of its own: it stands before any pod does, and the balancer's comes and goes.
RULES = f"""
table inet tandem-sources {{
    chain prerouting {{
        type filter hook prerouting priority raw;
        iifname "{POD_INTERFACE}*" fib saddr . iif oif missing drop
        iifname "{UPLINK}" fib saddr . iif oif missing drop
    }}
}}
"""


def enforce() -> None:
    """Check sources in the calling thread's netns; raises NetworkError."""
    try:
        apply(RULES)
    except BalancerError as error:
        raise NetworkError(f"checking where pods send from: {error}") from error
