"""Where pods reach this process: an address of its own network namespace."""

from __future__ import annotations

import socket

from pyroute2 import IPRoute

from deploy.standalone.control.errors import ConfigError

GLOBAL_SCOPE = 0


def own_address() -> str:
    """The first address of this network namespace that isn't its loopback's.

    The standalone mesh's control plane has a namespace, and an address, of its
    own. IPv4 before IPv6, which is in brackets; raises ConfigError without any.
    """
    with IPRoute() as routes:
        for family in (socket.AF_INET, socket.AF_INET6):
            for message in routes.get_addr(family=family, scope=GLOBAL_SCOPE):
                address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                if address:
                    return f"[{address}]" if family == socket.AF_INET6 else str(address)
    raise ConfigError("--xds-address: give it: this network namespace has no address")
