"""Node ids: ``<role>~<ip>~<pod>.<namespace>~<domain>``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from deploy.standalone.control.errors import NodeIdError

ZTUNNEL = "ztunnel"
WAYPOINT = "waypoint"
ROLES = (ZTUNNEL, WAYPOINT)


@dataclass(frozen=True, slots=True)
class Node:
    """A client of the stream."""

    id: str
    role: str
    ip: str
    pod: str
    namespace: str

    @classmethod
    def parse(cls, text: str) -> Node:
        """Read a node id; raises NodeIdError."""
        parts = text.split("~")
        form = "expected <ztunnel|waypoint>~<ip>~<pod>.<namespace>~<namespace>.svc.<domain>"
        if len(parts) != 4:
            raise NodeIdError(f"node id {text!r}: {form}")
        role, ip, name, _domain = parts
        if role not in ROLES:
            raise NodeIdError(f"node id {text!r}: unknown role {role!r}; {form}")
        try:
            ipaddress.ip_address(ip)
        except ValueError as error:
            raise NodeIdError(f"node id {text!r}: {ip!r} is no IP address; {form}") from error
        pod, _, namespace = name.rpartition(".")
        if not pod or not namespace:
            raise NodeIdError(f"node id {text!r}: {name!r} is no <pod>.<namespace>; {form}")
        return cls(text, role, ip, pod, namespace)
