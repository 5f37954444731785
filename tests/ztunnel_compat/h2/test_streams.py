from __future__ import annotations

import pytest

from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.errors import ConnectionFault, StreamFault
from ztunnel_compat.h2.streams import REMEMBERED, Stream, StreamTable


def server() -> StreamTable:
    table = StreamTable(Role.SERVER, lambda stream: None)
    table.last_received = 99
    return table


def test_there_is_one_way_out_and_it_is_taken_once():
    released: list[Stream] = []
    table = StreamTable(Role.CLIENT, released.append)
    stream = table.open_ours(100)
    stream.queued = stream.held = 5
    table.retire(stream)
    table.retire(stream)
    assert released == [stream]
    assert (stream.finished, stream.queued, table.streams) == (True, 0, {})


def test_what_comes_for_a_stream_that_is_gone():
    table = server()
    table.remember_reset(1, ours=True)
    table.remember_reset(3, ours=False)
    table.judge(1)
    with pytest.raises(StreamFault, match="a frame after RST_STREAM"):
        table.judge(3)
    with pytest.raises(ConnectionFault, match="stream 5, which has ended") as caught:
        table.judge(5)
    assert caught.value.code is ErrorCode.STREAM_CLOSED
    for idle in (101, 2):
        with pytest.raises(ConnectionFault, match=f"stream {idle}, which is idle"):
            table.judge(idle)


def test_resets_are_remembered_up_to_a_bound_and_then_taken_for_ours():
    table = server()
    table.last_received = 10**6 + 1
    for i in range(REMEMBERED + 10):
        table.remember_reset(2 * i + 1, ours=False)
    assert len(table.resets) == REMEMBERED
    table.judge(1)
    table.judge(19)
    with pytest.raises(StreamFault):
        table.judge(21)
