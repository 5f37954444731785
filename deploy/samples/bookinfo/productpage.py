"""productpage: the page of a book, put together from details and reviews."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import page
from web import (
    USER_NAME,
    Request,
    Response,
    Upstreams,
    answer,
    not_found,
    pod_name,
    serve,
)

DETAILS = os.environ.get("DETAILS", "details:9080")
REVIEWS = os.environ.get("REVIEWS", "reviews:9080")
PRODUCTS = [
    {
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "A comedy by William Shakespeare, one of his earliest: two pairs of"
        " twins, parted at birth, meet in one town, and everybody takes each for the other.",
    }
]

upstreams = Upstreams()


@dataclass(frozen=True)
class Caller:
    """Who asks: the signed-in user if there is one, and the headers to pass on."""

    user: str
    headers: dict[str, str]


def caller_of(request: Request) -> Caller:
    """Read the caller; the user that the cookie names goes before an end-user header."""
    headers = request.forwarded()
    try:
        cookie = SimpleCookie(request.headers.get("cookie", "")).get("user")
    except CookieError:
        cookie = None
    if cookie is not None and USER_NAME.fullmatch(cookie.value):
        headers["end-user"] = cookie.value
    return Caller(headers.get("end-user", ""), headers)


def productpage(request: Request) -> Response:
    """Answer the page, the sign-in form, the JSON API and /health."""
    caller = caller_of(request)
    match [part for part in request.path.split("/") if part]:
        case []:
            return _redirect("/productpage")
        case ["health"]:
            return answer({"status": "Product page is healthy"})
        case ["productpage"]:
            return _page(caller)
        case ["login"] if request.method == "POST":
            return _sign_in(request)
        case ["logout"]:
            return _redirect("/productpage", "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        case ["api", "v1", "products"]:
            return answer(PRODUCTS)
        case ["api", "v1", "products", "0"]:
            return upstreams.get(DETAILS, "/details/0", caller.headers)
        case ["api", "v1", "products", "0", "reviews"]:
            return upstreams.get(REVIEWS, "/reviews/0", caller.headers)
        case ["api", "v1", "products", "0", "ratings"]:
            return _ratings(upstreams.get(REVIEWS, "/reviews/0", caller.headers))
        case _:
            return not_found(request)


def _page(caller: Caller) -> Response:
    details = upstreams.get(DETAILS, "/details/0", caller.headers)
    reviews = upstreams.get(REVIEWS, "/reviews/0", caller.headers)
    text = page.render(
        product=PRODUCTS[0],
        details=json.loads(details.body) if details.status == 200 else None,
        reviews=json.loads(reviews.body) if reviews.status == 200 else None,
        user=caller.user,
        pod=pod_name(),
    )
    return Response(200, text.encode(), "text/html; charset=utf-8")


def _ratings(reviews: Response) -> Response:
    if reviews.status != 200:
        return reviews
    rated = [r for r in json.loads(reviews.body)["reviews"] if "stars" in r.get("rating", {})]
    return answer({"id": 0, "ratings": {r["reviewer"]: r["rating"]["stars"] for r in rated}})


def _sign_in(request: Request) -> Response:
    form = parse_qs(request.body.decode("utf-8", "replace"))
    user = form.get("username", [""])[0].strip()
    if not USER_NAME.fullmatch(user):
        return answer(
            {"error": f"user name {user!r}: use 1 to 64 letters, digits and . _ @ -"}, 400
        )
    return _redirect("/productpage", f"user={user}; Path=/; HttpOnly; SameSite=Lax")


def _redirect(target: str, cookie: str | None = None) -> Response:
    headers = {"location": target} | ({"set-cookie": cookie} if cookie else {})
    return Response(302, b"", "text/plain", headers)


if __name__ == "__main__":
    serve("productpage", productpage)
