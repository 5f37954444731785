"""What goes with a flow, where user space deletes the flow.

The kernel counts open connections per endpoint, for services that ask for the least
busy one; a flow says whether it was counted (bpf/include/abi.h, ``active``). And it
keeps what it knows of an accelerated connection until that connection's flow ends.
"""

from __future__ import annotations

from collections.abc import Callable

from bpf.layout import ActiveKey, Flow, FlowFlag, FlowKey
from bpf.maps import Maps
from bpf.pairs import lower_first
from bpf.tables import Table


def flow_ended(maps: Maps) -> Callable[[FlowKey, Flow], None]:
    """What is to be called with each flow that user space deletes; from any thread."""

    def ended(key: FlowKey, flow: Flow) -> None:
        if flow.flags & FlowFlag.COUNTED:
            give_back(maps.active, key, flow)
        if flow.flags & FlowFlag.ACCELERATE:
            maps.accelerated.delete(lower_first(key))

    return ended


def give_back(active: Table[ActiveKey, int], key: FlowKey, flow: Flow) -> None:
    """A counted flow is gone.

    The kernel may count at the same moment, and one of the two be lost: then an
    endpoint looks a connection busier or idler until its count comes to 0.
    """
    if flow.flags & FlowFlag.TUNNEL:
        endpoint = ActiveKey(flow.far, flow.far_port)
    else:
        endpoint = ActiveKey(key.destination, key.destination_port)
    count = active.get(endpoint)
    if count is not None and count > 1:
        active.put(endpoint, count - 1)
    else:
        active.delete(endpoint)
