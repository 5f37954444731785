"""The page as a function of what the services answered."""

from __future__ import annotations

import importlib.util
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.support.bookinfo import SAMPLE

PRODUCT = {"title": "A <Title>", "descriptionHtml": "Twins & more"}
VOID = {"meta", "link", "input"}


@pytest.fixture(scope="module")
def page() -> Any:
    spec = importlib.util.spec_from_file_location("bookinfo_page", SAMPLE / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Balance(HTMLParser):
    """Fails on a tag that closes what is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def review(**rating: Any) -> dict[str, Any]:
    return {
        "version": "v3",
        "podname": "reviews-v3-x",
        "reviews": [{"reviewer": "R <1>", "text": "fun & <b>", "rating": rating}],
    }


@pytest.mark.parametrize("user", ["", "jason"])
@pytest.mark.parametrize("details", [None, {"author": "A <B>", "year": 1595}])
@pytest.mark.parametrize("reviews", [None, review(stars=3, color="red"), review(error="no")])
def test_html_is_balanced_and_escaped(page: Any, user: str, details: Any, reviews: Any) -> None:
    text = page.render(
        product=PRODUCT, details=details, reviews=reviews, user=user, pod="page-0"
    )
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert "A &lt;Title&gt;" in text
    for raw in ("A <", "R <", "fun & "):
        assert raw not in text


@pytest.mark.parametrize(
    ("stars", "full", "empty"), [(5, 5, 0), (3, 3, 2), (0, 0, 5), (9, 5, 0)]
)
def test_stars_are_full_or_empty_and_five(page: Any, stars: int, full: int, empty: int) -> None:
    text = page.render(
        product=PRODUCT,
        details=None,
        reviews=review(stars=stars, color="red"),
        user="",
        pod="page-0",
    )
    shown = text.split('class="stars red"', 1)[1].split("</span>", 1)[0]
    hollow = shown.split("<i>")[1].count("★") if "<i>" in shown else 0
    assert (shown.count("★") - hollow, hollow) == (full, empty)


def test_missing_stars_say_why(page: Any) -> None:
    text = page.render(
        product=PRODUCT, details=None, reviews=review(error="no stars"), user="", pod="p"
    )
    assert "no stars" in text
