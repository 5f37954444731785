"""Istio's labels of metrics, which all of the mesh fills in alike.

Sets of labels are tuples of values in the order of their names, so that they are hashed
and compared cheaply. What isn't known is "unknown", as with ztunnel and Istio's waypoint.
"""

from __future__ import annotations

from typing import Final

from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Service, Workload

UNKNOWN: Final = "unknown"
#: ``connection_security_policy``: a certificate proved who is at the other end, or this
#: node's kernel did.
MUTUAL_TLS: Final = "mutual_tls"
KERNEL_VERIFIED: Final = "kernel_verified"
#: An end's labels, in the order of ``end``, without the prefix that says which end.
END: Final = (
    "workload",
    "canonical_service",
    "canonical_revision",
    "workload_namespace",
    "principal",
    "app",
    "version",
    "cluster",
)
#: Both ends and what was called, in the order of ``end``, ``called``, ``end``.
ENDS: Final = (
    *(f"source_{name}" for name in END),
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    *(f"destination_{name}" for name in END),
)

Labels = tuple[str, ...]


def end(workload: Workload | None) -> Labels:
    """One end of a connection."""
    if workload is None:
        return (UNKNOWN,) * len(END)
    return tuple(
        value or UNKNOWN
        for value in (
            workload.workload_name,
            workload.canonical_name,
            workload.canonical_revision,
            workload.namespace,
            str(workload.identity),
            workload.canonical_name,
            workload.canonical_revision,
            workload.cluster_id,
        )
    )


def identified(workload: Workload | None, identity: Identity | None) -> Labels:
    """One end's labels, with the identity that was proven; None: none was."""
    found = end(workload)
    if identity is None:
        return found
    namespace = found[3] if workload is not None else identity.namespace
    return (*found[:3], namespace, str(identity), *found[5:])


def called(service: Service | None) -> Labels:
    """The service that was called: hostname, namespace, name."""
    if service is None:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    return (service.hostname, service.namespace, service.name)
