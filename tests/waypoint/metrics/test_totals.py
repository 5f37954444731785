from __future__ import annotations

import random
from collections import Counter

from waypoint.metrics.recorder import REQUEST_SIZE, STREAM_SIZE
from waypoint.metrics.snapshot import Snapshot, read_snapshot
from waypoint.metrics.totals import Totals, difference


class Process:
    """A worker that counts, forgets now and then, and may be replaced."""

    lives = 0

    def __init__(self, draws: random.Random) -> None:
        Process.lives += 1
        self.life = Process.lives
        self.draws = draws
        self.streams: dict[tuple[str, ...], list[int]] = {}
        self.counts: Counter[tuple[str, ...]] = Counter()

    def work(self) -> Counter[tuple[str, ...]]:
        """Count something; what it was."""
        did: Counter[tuple[str, ...]] = Counter()
        for _ in range(self.draws.randrange(5)):
            labels = (f"w{self.draws.randrange(6)}",)
            self.streams.setdefault(labels, [0] * STREAM_SIZE)[0] += 1
            self.counts["requests",] += 1
            did[labels] += 1
            did["requests",] += 1
        return did

    def tell(self) -> Snapshot:
        rows = {labels: row[:] for labels, row in self.streams.items()}
        told = Snapshot(
            self.life, {}, rows, dict(self.counts), {("now",): 2, ("label_sets",): 3}
        )
        return read_snapshot(told.dump())


def shown(totals: Totals) -> dict[tuple[str, ...], int]:
    found = totals.sum()
    return {labels: row[0] for labels, row in found.streams.items()} | found.counts


def test_the_sum_of_workers_is_the_total_whoever_ends_and_forgets() -> None:
    draws = random.Random(7)
    for _ in range(40):
        totals = Totals()
        processes = [Process(draws) for _ in range(draws.randrange(1, 5))]
        wanted: Counter[tuple[str, ...]] = Counter()
        untold = [Counter[tuple[str, ...]]() for _ in processes]
        before: dict[tuple[str, ...], int] = {}
        for _ in range(60):
            number = draws.randrange(len(processes))
            process = processes[number]
            untold[number] += process.work()
            match draws.randrange(12):
                case 0:
                    # It dies: what nobody asked for in time goes with it.
                    untold[number].clear()
                    processes[number] = Process(draws)
                    totals.gone(number)
                case 1 if process.streams and not untold[number]:
                    # Nobody forgets what has changed within an hour, and it is asked for
                    # more often.
                    del process.streams[draws.choice(list(process.streams))]
                    totals.take(number, process.tell())
                case 2 | 3 | 4 | 5:
                    totals.take(number, process.tell())
                    wanted += untold[number]
                    untold[number].clear()
            now = shown(totals)
            assert now == dict(wanted)
            assert all(now[key] >= value for key, value in before.items())
            before = now


def test_what_there_is_now_is_of_those_who_are_there() -> None:
    totals = Totals()
    draws = random.Random(1)
    for number in range(3):
        totals.take(number, Process(draws).tell())
    assert totals.sum().gauges == {("now",): 6, ("label_sets",): 3}
    totals.gone(0)
    totals.gone(7)
    assert totals.sum().gauges == {("now",): 4, ("label_sets",): 3}


def test_a_row_that_began_again_counts_whole() -> None:
    assert difference([5, 2], [3, 2]) == [2, 0]
    assert difference([1, 9], [3, 2]) == [1, 9]


def test_a_snapshot_survives_being_told() -> None:
    made = Snapshot(
        3, {("a", "b"): [1] * REQUEST_SIZE}, {("c",): [2]}, {("n", "x"): 4}, {("g",): 5}
    )
    assert read_snapshot(made.dump()) == made


def test_messages_of_several_workers_are_summed() -> None:
    totals = Totals()
    totals.take(0, Snapshot(1, messages={("a",): [1, 2]}))
    totals.take(1, Snapshot(2, messages={("a",): [10, 20]}))
    totals.take(0, Snapshot(1, messages={("a",): [3, 2]}))
    assert totals.sum().messages == {("a",): [13, 22]}
