from __future__ import annotations

from waypoint.resilience.replay import Replay, ReplayPool


def test_a_body_is_kept() -> None:
    pool = ReplayPool()
    replay = Replay(pool)
    assert replay.body() == b""
    for part in (b"ab", b"", b"c"):
        replay.add(part)
    assert replay.body() == b"abc"
    replay.add(b"d")
    assert replay.body() == b"abcd"
    assert pool.held == 4
    replay.release()
    replay.release()
    assert pool.held == 0


def test_a_large_body_is_let_go() -> None:
    pool = ReplayPool(per_request=4)
    replay = Replay(pool)
    replay.add(b"abcd")
    assert not replay.lost
    replay.add(b"e")
    replay.add(b"f")
    assert (replay.lost, pool.lost_large, pool.held) == (True, 1, 0)
    assert replay.body() is None


def test_all_together_have_a_bound() -> None:
    pool = ReplayPool(per_request=6, in_total=10)
    first, second, third = Replay(pool), Replay(pool), Replay(pool)
    first.add(b"12345")
    second.add(b"12345")
    third.add(b"1")
    assert (first.lost, second.lost, third.lost, pool.lost_full) == (False, False, True, 1)
    first.release()
    second.add(b"6")
    assert (second.body(), pool.held) == (b"123456", 6)
