"""Bars made of text."""

from __future__ import annotations

import pytest

from deploy.demo.picture import bar, caption, draw
from deploy.demo.split import Split


@pytest.mark.parametrize(
    ("share", "picture"),
    [(0.0, "......"), (0.5, "###..."), (1.0, "######"), (1.7, "######"), (-1.0, "......")],
)
def test_bar(share: float, picture: str) -> None:
    assert bar(share, width=6, unicode=False) == picture


def test_bar_in_unicode() -> None:
    assert bar(0.5, width=2) == "█░"


def test_asked_stands_beside_seen() -> None:
    lines = draw({"v1": 80, "v2": 20}, Split({"v1": 3, "v2": 1}), unicode=False)
    assert lines == [
        "v1  asked   80.0%  " + "#" * 32 + "." * 8,
        "    seen    75.0%  " + "#" * 30 + "." * 10,
        "v2  asked   20.0%  " + "#" * 8 + "." * 32,
        "    seen    25.0%  " + "#" * 10 + "." * 30,
    ]


def test_caption_says_the_bound() -> None:
    said = caption({"v1": 80, "v2": 20}, Split({"v1": 400, "v2": 100}))
    assert said == "500 answers: v1 400, v2 100; to be within ±7.2 points (4 sigma)"
    assert "to be exactly" in caption({"v2": 1}, Split({"v2": 5}))


def test_what_was_neither_asked_nor_seen_is_left_out() -> None:
    assert len(draw({"v1": 0, "v2": 1}, Split({"v2": 5}))) == 2
    assert len(draw({"v1": 0, "v2": 1}, Split({"v1": 1, "v2": 5}))) == 4
