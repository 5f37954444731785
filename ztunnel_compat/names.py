"""xDS names, and the 64-bit hashes of them that the kernel carries.

Daemon and waypoint never talk to each other: both hash the names that the
control plane gave them, so a hash that the kernel reports means the same thing
on either side.
"""

from __future__ import annotations

from functools import lru_cache

import xxhash

MASK64 = (1 << 64) - 1
#: The golden-ratio multiplier: spreads ports over the whole word, so that
#: targets of one name don't share their upper bits. The C side has the same.
PORT_MULTIPLIER = 0x9E3779B97F4A7C15


def pod_uid(cluster: str, namespace: str, name: str) -> str:
    """The xDS name that istiod gives to a pod's workload."""
    return f"{cluster}//Pod/{namespace}/{name}"


def workload_entry_uid(cluster: str, namespace: str, name: str) -> str:
    """The xDS name that istiod gives to a WorkloadEntry's workload."""
    return f"{cluster}/networking.istio.io/WorkloadEntry/{namespace}/{name}"


def service_key(namespace: str, hostname: str) -> str:
    """The xDS name of a service."""
    return f"{namespace}/{hostname}"


@lru_cache(maxsize=4096)
def name_hash(name: str) -> int:
    """A name as the kernel knows it: never 0, which means "none" there."""
    return xxhash.xxh64_intdigest(name.encode()) or 1


def target_hash(name: int, port: int) -> int:
    """What a connection was made for: a service or workload, and a port.

    name: the ``name_hash`` of a service key or a workload uid; port: host order.
    """
    return name ^ (port * PORT_MULTIPLIER & MASK64)
