from __future__ import annotations

import pytest

from ztunnel_compat.runtime.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_maximum():
    backoff = Backoff(0.01, 0.05, draw=lambda: 0.5)
    assert [backoff.next() for _ in range(5)] == [0.005, 0.01, 0.02, 0.025, 0.025]


def test_reset_starts_over():
    backoff = Backoff(1, 8, draw=lambda: 1.0)
    assert [backoff.next(), backoff.next()] == [1, 2]
    backoff.reset()
    assert backoff.next() == 1


def test_delays_are_spread_over_the_whole_range():
    backoff = Backoff(1, 1)
    delays = [backoff.next() for _ in range(1_000)]
    assert min(delays) < 0.1
    assert 0.9 < max(delays) <= 1


@pytest.mark.parametrize(("initial", "maximum"), [(0, 1), (-1, 1), (2, 1)])
def test_nonsense_is_refused(initial, maximum):
    with pytest.raises(ValueError, match="need 0 < from <= to"):
        Backoff(initial, maximum)
