"""The application as a whole, through its page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.bookinfo import SAMPLE


def test_page_shows_details_and_stars_of_v2(bookinfo: Any) -> None:
    reply = bookinfo["page"].ask("/productpage")
    text = reply.body.decode()
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert 'data-reviews-version="v2"' in text
    assert "William Shakespeare" in text
    assert text.count('class="stars black"') == 2


def test_page_of_v1_has_no_stars(bookinfo: Any) -> None:
    text = bookinfo["page-v1"].ask("/productpage").body.decode()
    assert 'data-reviews-version="v1"' in text
    assert 'class="stars' not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_listens_on_both_families(bookinfo: Any, host: str) -> None:
    for app in bookinfo.values():
        assert app.ask("/health", host=host).status == 200


@pytest.mark.parametrize(("page", "version"), [("page", "v2"), ("page-v1", "v1")])
def test_api_names_the_version_and_pod_that_answered(
    bookinfo: Any, page: str, version: str
) -> None:
    answer = json.loads(bookinfo[page].ask("/api/v1/products/0/reviews").body)
    assert (answer["version"], answer["podname"]) == (version, f"reviews-{version}-pod")


def test_api_lists_products_details_and_ratings(bookinfo: Any) -> None:
    page = bookinfo["page"]
    assert json.loads(page.ask("/api/v1/products").body)[0]["title"] == "The Comedy of Errors"
    assert json.loads(page.ask("/api/v1/products/0").body)["pages"] == 200
    assert json.loads(page.ask("/api/v1/products/0/ratings").body)["ratings"] == {
        "Reviewer1": 5,
        "Reviewer2": 4,
    }


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/products/7", "/login"])
def test_unknown_path_is_404(bookinfo: Any, path: str) -> None:
    assert bookinfo["page"].ask(path).status == 404


def test_sign_in_sets_a_cookie_and_sign_out_clears_it(bookinfo: Any) -> None:
    page = bookinfo["page"]
    signed_in = page.ask("/login", "POST", "username=jason")
    assert signed_in.status == 302
    assert signed_in.headers["set-cookie"].startswith("user=jason; ")
    assert b"Signed in as <b>jason</b>" in page.ask("/productpage", cookie="user=jason").body
    assert "user=; " in page.ask("/logout").headers["set-cookie"]


@pytest.mark.parametrize("name", ["", "a%0d%0ab", "<b>", "a" * 65])
def test_bad_user_name_is_refused(bookinfo: Any, name: str) -> None:
    reply = bookinfo["page"].ask("/login", "POST", f"username={name}")
    assert reply.status == 400
    assert b"user name" in reply.body


ECHO = """
from web import answer, serve
serve("echo", lambda request: answer(dict(request.headers)))
"""


def test_forwards_caller_and_trace(apps: Any, tmp_path: Any) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    echo = apps.start("echo.py", cwd=tmp_path, PYTHONPATH=str(SAMPLE))
    page = apps.start("productpage.py", REVIEWS=echo.address, DETAILS=echo.address)
    trace = {"x_request_id": "r-1", "traceparent": "00-ab-cd-01", "end_user": "header"}

    plain = json.loads(page.ask("/api/v1/products/0/reviews", **trace).body)
    signed_in = json.loads(
        page.ask("/api/v1/products/0/reviews", cookie="user=jason", **trace).body
    )

    assert (plain["x-request-id"], plain["traceparent"]) == ("r-1", "00-ab-cd-01")
    assert (plain["end-user"], signed_in["end-user"]) == ("header", "jason")
    assert "cookie" not in signed_in


def test_page_says_what_is_out_of_reach(apps: Any) -> None:
    page = apps.start("productpage.py", REVIEWS="localhost:1", DETAILS="localhost:1")
    shown = page.ask("/productpage")
    assert shown.status == 200
    assert shown.body.count(b"out of reach") == 2
    assert page.ask("/api/v1/products/0/reviews").status == 503


def test_reviews_survive_without_ratings(apps: Any) -> None:
    reviews = apps.start("reviews.py", SERVICE_VERSION="v2", RATINGS="localhost:1")
    answer = json.loads(reviews.ask("/reviews/0").body)
    assert [review["rating"] for review in answer["reviews"]] == [
        {"error": "Ratings service is currently unavailable"}
    ] * 2
