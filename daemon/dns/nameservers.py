"""The map that tells the kernel which addresses are the cluster DNS's.

Traffic of enrolled pods to port 53 of these comes to us while we listen.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from bpf.addresses import mapped
from bpf.layout import LocalAddress
from bpf.tables import Table


def write(table: Table[LocalAddress, int], addresses: Iterable[str]) -> None:
    """Have the map hold these addresses and no others; raises MapFullError.

    Loopback addresses stay out: a pod's own 127.0.0.53 is not the node's.
    """
    parsed = [ipaddress.ip_address(address) for address in addresses]
    wanted = {LocalAddress(mapped(one.packed)) for one in parsed if not one.is_loopback}
    for key, _ in list(table.items()):
        if key not in wanted:
            table.delete(key)
    for key in wanted:
        table.put(key, 1)
