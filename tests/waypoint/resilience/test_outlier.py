from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from waypoint.resilience.outlier import (
    Cause,
    Monitor,
    Outcome,
    Outliers,
    OutlierSettings,
    threshold,
)

FREE = {"max_ejection_percent": 100}


class Rig:
    """Hosts under watch, and a clock."""

    def __init__(self, hosts: int = 4, drawn: float = 0.0, **settings: Any) -> None:
        self.now = 0.0
        self.changes = 0
        self.drawn = drawn
        self.outliers = Outliers(OutlierSettings(**settings), lambda: self.drawn, self.note)
        self.hosts = [Monitor(f"h{number}") for number in range(hosts)]
        for host in self.hosts:
            self.outliers.add(host)
        self.outliers.advance(self.now)

    def note(self) -> None:
        self.changes += 1

    def report(self, number: int, *outcomes: int | Outcome) -> None:
        for outcome in outcomes:
            self.outliers.report(self.hosts[number], outcome, self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, a second at a time."""
        for _ in range(round(seconds)):
            self.now += 1
            self.outliers.advance(self.now)

    @property
    def ejected(self) -> list[int]:
        return [n for n, host in enumerate(self.hosts) if host.ejected_at is not None]


LOCAL = {"split_external_local_origin_errors": True}
GATEWAY = {"consecutive_5xx": 0, "enforcing_consecutive_gateway_failure": 100}


@pytest.mark.parametrize(
    ("settings", "outcomes", "ejected"),
    [
        ({}, [500] * 4, False),
        ({}, [500] * 5, True),
        ({}, [500] * 4 + [200] + [500] * 4, False),
        ({}, [500] * 4 + [404] + [500], False),
        ({}, [599] * 5, True),
        ({"consecutive_5xx": 2}, [500, 503], True),
        ({"consecutive_5xx": 0}, [500] * 50, False),
        ({"enforcing_consecutive_5xx": 0}, [500] * 50, False),
        # What brought no response counts as a 5xx.
        ({}, [Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.RESET, 500,
              Outcome.PROTOCOL_ERROR], True),
        ({}, [Outcome.CONNECT_FAILED] * 4 + [Outcome.CONNECTED], False),
        # Gateway failures: detected, but not enforced unless asked for.
        ({"consecutive_5xx": 0}, [503] * 5, False),
        (GATEWAY, [502, 503, 504, 502, 503], True),
        (GATEWAY, [502, 503, 500, 504, 502, 503], False),
        (GATEWAY, [500] * 9, False),
        (GATEWAY, [Outcome.CONNECT_FAILED] * 5, True),
        (GATEWAY | {"consecutive_gateway_failure": 2}, [502, 503], True),
        # Local origins are a streak of their own where they are split off.
        (LOCAL, [Outcome.CONNECT_FAILED] * 4, False),
        (LOCAL, [Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.RESET] * 2, True),
        (LOCAL, [Outcome.CONNECT_FAILED] * 4 + [Outcome.CONNECTED, Outcome.CONNECT_FAILED],
         False),
        (LOCAL, [500, Outcome.CONNECT_FAILED] * 4, False),
        (LOCAL, [Outcome.PROTOCOL_ERROR] * 5, True),
        (LOCAL | {"consecutive_local_origin_failure": 1}, [Outcome.RESET], True),
        (LOCAL | {"enforcing_consecutive_local_origin_failure": 0}, [Outcome.RESET] * 9, False),
    ],
)  # fmt: skip
def test_streaks(
    settings: dict[str, Any], outcomes: Sequence[int | Outcome], ejected: bool
) -> None:
    rig = Rig(**FREE | settings)
    rig.report(1, *outcomes)
    assert rig.ejected == ([1] if ejected else [])
    assert rig.changes == len(rig.ejected)


@pytest.mark.parametrize(
    ("hosts", "percent", "always", "ejected"),
    [
        (4, 10, False, 0),
        (4, 10, True, 1),
        (10, 10, False, 1),
        (10, 10, True, 1),
        (10, 35, False, 3),
        (4, 100, False, 4),
        (4, 0, False, 0),
        (1, 100, False, 1),
    ],
)
def test_the_share_that_may_be_ejected(
    hosts: int, percent: int, always: bool, ejected: int
) -> None:
    rig = Rig(hosts, max_ejection_percent=percent, always_eject_one_host=always)
    for number in range(hosts):
        rig.report(number, *[500] * 5)
    assert len(rig.ejected) == rig.outliers.ejected == ejected
    assert rig.outliers.overflows == hosts - ejected


def test_a_host_comes_back_and_is_away_longer_each_time() -> None:
    rig = Rig(**FREE, base_ejection_time=30, max_ejection_time=100, interval=10)
    lengths = []
    for _ in range(5):
        rig.report(0, *[500] * 5)
        assert rig.ejected == [0]
        start = rig.now
        while rig.ejected:
            rig.wait(1)
        lengths.append(rig.now - start)
    # Never longer than the maximum; noticed at the end of an interval.
    assert lengths == [30, 60, 90, 100, 100]


def test_who_behaves_is_forgiven() -> None:
    rig = Rig(**FREE, interval=10)
    rig.report(0, *[500] * 5)
    rig.wait(30)
    assert (rig.ejected, rig.hosts[0].ejections) == ([], 1)
    rig.wait(10)
    assert rig.hosts[0].ejections == 0
    rig.report(0, *[500] * 5)
    rig.wait(30)
    assert rig.ejected == []


def test_jitter_makes_an_ejection_longer() -> None:
    rig = Rig(drawn=0.5, **FREE, interval=1, max_ejection_time_jitter=10)
    rig.report(0, *[500] * 5)
    rig.wait(34)
    assert rig.ejected == [0]
    rig.wait(1)
    assert rig.ejected == []


def test_a_part_of_detections_may_be_enforced() -> None:
    for drawn, ejected in ((0.29, [0]), (0.3, [])):
        rig = Rig(drawn=drawn, **FREE, enforcing_consecutive_5xx=30)
        rig.report(0, *[500] * 5)
        assert rig.ejected == ejected


def volumes(rig: Rig, goods: Sequence[int], total: int = 100) -> None:
    for number, good in enumerate(goods):
        for n in range(total):
            # Spread out, so that no streak ejects.
            rig.report(number, 200 if n * good // total != (n - 1) * good // total else 501)


RATES = FREE | {"consecutive_5xx": 0, "interval": 10}


@pytest.mark.parametrize(
    ("settings", "goods", "ejected", "cause"),
    [
        ({}, [100, 100, 100, 100, 50], [4], Cause.SUCCESS_RATE),
        ({}, [100, 99, 98, 97, 96], [], None),
        ({}, [50] * 5, [], None),
        ({}, [100, 100, 100, 50], [], None),
        ({"success_rate_minimum_hosts": 3}, [100, 100, 100, 50], [], None),
        ({"success_rate_minimum_hosts": 3, "success_rate_stdev_factor": 1000},
         [100, 100, 100, 50], [3], Cause.SUCCESS_RATE),
        ({"success_rate_request_volume": 101}, [100, 100, 100, 100, 50], [], None),
        ({"enforcing_success_rate": 0}, [100, 100, 100, 100, 0], [], None),
        ({"enforcing_success_rate": 0, "enforcing_failure_percentage": 100},
         [100, 100, 100, 100, 15], [4], Cause.FAILURE_PERCENTAGE),
        ({"enforcing_success_rate": 0, "enforcing_failure_percentage": 100},
         [100, 100, 100, 100, 16], [], None),
        ({"enforcing_failure_percentage": 100}, [10] * 5, [0, 1, 2, 3, 4],
         Cause.FAILURE_PERCENTAGE),
        ({"enforcing_failure_percentage": 100, "failure_percentage_minimum_hosts": 6},
         [10] * 5, [], None),
        ({"enforcing_failure_percentage": 100, "failure_percentage_request_volume": 101},
         [10] * 5, [], None),
        ({"enforcing_failure_percentage": 100, "failure_percentage_threshold": 91},
         [10] * 5, [], None),
    ],
)  # fmt: skip
def test_rates_are_compared(
    settings: dict[str, Any], goods: list[int], ejected: list[int], cause: Cause | None
) -> None:
    rig = Rig(len(goods), **RATES | settings)
    volumes(rig, goods)
    rig.wait(9)
    assert rig.ejected == []
    rig.wait(1)
    assert rig.ejected == ejected
    assert set(rig.outliers.counts) == ({cause} if cause else set())
    # The next interval starts from nothing.
    rig.wait(10)
    assert rig.ejected == ejected


def test_rates_of_local_origins_are_their_own() -> None:
    rig = Rig(5, **RATES | LOCAL | {"consecutive_local_origin_failure": 0})
    for number in range(5):
        bad = 50 if number == 2 else 0
        rig.report(number, *[Outcome.CONNECTED] * (100 - bad), *[Outcome.RESET] * bad)
    rig.wait(10)
    assert (rig.ejected, set(rig.outliers.counts)) == ([2], {Cause.SUCCESS_RATE_LOCAL})


def test_threshold() -> None:
    assert threshold([100, 100, 100, 100, 50], 1.9) == pytest.approx(90 - 1.9 * 20)


def test_a_healthy_check_brings_a_host_back() -> None:
    for wanted in (True, False):
        rig = Rig(**FREE, uneject_on_healthy_check=wanted)
        rig.report(0, *[500] * 5)
        rig.outliers.checked_healthy(rig.hosts[0])
        assert rig.ejected == ([] if wanted else [0])


def test_hosts_that_leave_are_not_counted() -> None:
    rig = Rig(**FREE)
    rig.report(0, *[500] * 5)
    rig.outliers.remove(rig.hosts[0])
    assert rig.outliers.ejected == 0


def test_without_settings_nobody_is_watched_and_everybody_comes_back() -> None:
    rig = Rig(**FREE)
    rig.report(0, *[500] * 5)
    rig.outliers.adjust(None)
    assert (rig.ejected, rig.outliers.ejected) == ([], 0)
    rig.report(1, *[500] * 50)
    rig.wait(50)
    assert rig.ejected == []


def test_other_settings_keep_who_is_ejected() -> None:
    rig = Rig(**FREE)
    rig.report(0, *[500] * 5)
    rig.outliers.adjust(OutlierSettings(base_ejection_time=5, interval=1))
    assert rig.ejected == [0]
    rig.wait(7)
    assert rig.ejected == []
