"""What chance allows, and what it doesn't."""

from __future__ import annotations

import pytest

from deploy.demo.split import Split, bound, complaint, shares


def seen(v1: int, v2: int) -> Split:
    return Split.of(["v1"] * v1 + ["v2"] * v2)


def test_split_counts() -> None:
    split = seen(3, 1)
    assert (split.total, split.share("v1"), split.share("v3")) == (4, 0.75, 0.0)
    assert Split.of([]).share("v1") == 0.0


def test_shares() -> None:
    assert shares({"v1": 80, "v2": 20}) == {"v1": 0.8, "v2": 0.2}
    assert shares({"v1": 0, "v2": 1}) == {"v1": 0.0, "v2": 1.0}


def test_bound_is_four_standard_deviations() -> None:
    assert bound(0.8, 500) == pytest.approx(0.0716, abs=1e-4)
    assert bound(0.5, 500) == pytest.approx(0.0894, abs=1e-4)
    assert bound(1.0, 500) == 0.0
    assert bound(0.5, 0) == 0.0


@pytest.mark.parametrize("v1", [365, 400, 435])
def test_chance_explains_80_20(v1: int) -> None:
    assert complaint({"v1": 80, "v2": 20}, seen(v1, 500 - v1)) is None


@pytest.mark.parametrize("v1", [0, 250, 363, 437, 500])
def test_chance_does_not_explain(v1: int) -> None:
    said = complaint({"v1": 80, "v2": 20}, seen(v1, 500 - v1))
    assert said is not None
    assert "v1 was asked for 80%" in said


def test_all_means_all() -> None:
    assert complaint({"v1": 0, "v2": 100}, seen(0, 500)) is None
    assert complaint({"v1": 0, "v2": 100}, seen(1, 499)) is not None


def test_unknown_version_and_no_answers_are_wrong() -> None:
    assert complaint({"v1": 1}, Split.of(["v1"] * 9 + ["v3"])) is not None
    assert complaint({"v1": 1, "v2": 1}, Split.of(["v3"] * 9)) is not None
    assert complaint({"v1": 1}, Split({})) == "no answers at all"
