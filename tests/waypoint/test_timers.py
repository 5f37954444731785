from __future__ import annotations

from waypoint.timers import Wheel


class Item:
    def __init__(self, deadline: float | None = None) -> None:
        self.tick = 0
        self.deadline = deadline
        self.asked: list[float] = []

    def due(self, now: float) -> float | None:
        self.asked.append(now)
        return self.deadline if self.deadline is not None and now < self.deadline else None


def test_it_asks_within_a_second_after() -> None:
    wheel = Wheel(100.0)
    item = Item()
    wheel.set(item, 102.5)
    wheel.advance(102.9)
    assert item.asked == []
    wheel.advance(103.0)
    assert item.asked == [103.0]
    wheel.advance(200.0)
    assert item.asked == [103.0]


def test_a_later_deadline_is_asked_again() -> None:
    wheel = Wheel(0)
    item = Item(deadline=5.0)
    wheel.set(item, 1.0)
    for now in range(10):
        wheel.advance(now)
    assert item.asked == [2, 6]


def test_set_again_moves_it() -> None:
    wheel = Wheel(0)
    item = Item()
    wheel.set(item, 50)
    wheel.set(item, 1)
    wheel.advance(2)
    assert item.asked == [2]
    wheel.advance(60)
    assert item.asked == [2]


def test_removed_items_are_let_go() -> None:
    wheel = Wheel(0)
    item = Item()
    wheel.set(item, 5)
    wheel.remove(item)
    wheel.remove(item)
    assert wheel.slots == {}
    wheel.advance(10)
    assert item.asked == []


def test_one_may_remove_another() -> None:
    wheel = Wheel(0)
    second = Item()

    class First(Item):
        def due(self, now: float) -> float | None:
            wheel.remove(second)
            return super().due(now)

    wheel.set(First(), 1)
    wheel.set(second, 2)
    wheel.advance(10)
    assert second.asked == []


def test_the_past_is_asked_next() -> None:
    wheel = Wheel(100)
    item = Item()
    wheel.set(item, 3)
    wheel.advance(101)
    assert item.asked == [101]
