from __future__ import annotations

from waypoint.layers.memo import HeadMemo


def test_the_second_sighting_is_remembered() -> None:
    memo: HeadMemo[int] = HeadMemo()
    memo.offer(b"a", 1)
    assert memo.get(b"a") is None
    memo.offer(b"a", 2)
    assert memo.get(b"a") == 2
    memo.offer(b"a", 3)
    assert memo.get(b"a") == 3


def test_long_heads_are_not() -> None:
    memo: HeadMemo[int] = HeadMemo(longest=3)
    for _ in range(3):
        memo.offer(b"abcd", 1)
    assert memo.get(b"abcd") is None


def test_it_is_bounded() -> None:
    memo: HeadMemo[int] = HeadMemo(entries=10)
    for number in range(100):
        for _ in range(2):
            memo.offer(b"%d" % number, number)
        assert len(memo.records) <= 10
        assert len(memo.seen) <= 10
        assert memo.get(b"%d" % number) == number
    assert memo.restarts == 9
