"""What goes with a flow that user space deletes."""

from __future__ import annotations

from bpf.layout import ActiveKey, Flow, FlowFlag, FlowKey
from bpf.maps import Maps
from daemon.ended import flow_ended

HERE, THERE = bytes(15) + b"\x01", bytes(15) + b"\x02"
KEY = FlowKey(HERE, THERE, 40000, 80)
ENDPOINT = ActiveKey(THERE, 80)


def test_a_counted_flow_gives_back_one() -> None:
    maps = Maps.memory()
    active, ended = maps.active, flow_ended(maps)
    active.put(ENDPOINT, 2)
    ended(KEY, Flow(flags=FlowFlag.SERVICE))
    assert active.get(ENDPOINT) == 2
    ended(KEY, Flow(flags=FlowFlag.COUNTED))
    assert active.get(ENDPOINT) == 1
    ended(KEY, Flow(flags=FlowFlag.COUNTED | FlowFlag.SERVICE))
    assert active.get(ENDPOINT) is None
    ended(KEY, Flow(flags=FlowFlag.COUNTED))
    assert active.get(ENDPOINT) is None


def test_one_that_goes_by_a_tunnel_was_counted_at_its_end() -> None:
    maps = Maps.memory()
    maps.active.put(ENDPOINT, 2)
    maps.active.put(ActiveKey(HERE, 8080), 2)
    counted = FlowFlag.COUNTED | FlowFlag.TUNNEL
    flow_ended(maps)(KEY, Flow(flags=counted, far=HERE, far_port=8080))
    assert maps.active.get(ENDPOINT) == 2
    assert maps.active.get(ActiveKey(HERE, 8080)) == 1


def test_what_is_known_of_an_accelerated_connection_goes() -> None:
    maps = Maps.memory()
    maps.accelerated.put(KEY, bytes(64))
    flow_ended(maps)(KEY, Flow(flags=FlowFlag.SERVICE))
    assert maps.accelerated.get(KEY) is not None
    reverse = FlowKey(THERE, HERE, 80, 40000)
    flow_ended(maps)(reverse, Flow(flags=FlowFlag.ACCELERATE))
    assert maps.accelerated.get(KEY) is None
