"""reviews: what readers say. v1 shows no stars, later versions ask ratings for them."""

from __future__ import annotations

import json
import os

from web import Request, Response, Upstreams, answer, not_found, number_after, pod_name, serve

RATINGS = os.environ.get("RATINGS", "ratings:9080")
VERSION = os.environ.get("SERVICE_VERSION", "v1")
COLOURS = {"v2": "black", "v3": "red"}
TEXTS = {
    "Reviewer1": "An extremely entertaining play by Shakespeare. The slapstick humour is"
    " refreshing!",
    "Reviewer2": "Absolutely fun and entertaining. The play lacks thematic depth when"
    " compared to other plays by Shakespeare.",
}

upstreams = Upstreams()


def reviews(request: Request) -> Response:
    """Answer GET /reviews/<id> and /health."""
    if request.path == "/health":
        return answer({"status": "Reviews is healthy"})
    book = number_after("/reviews/", request.path)
    if book is None:
        return not_found(request)
    stars = _stars(book, request) if VERSION != "v1" else None
    return answer(
        {
            "id": str(book),
            "version": VERSION,
            "podname": pod_name(),
            "reviews": [
                {"reviewer": reviewer, "text": text} | _rating(stars, reviewer)
                for reviewer, text in TEXTS.items()
            ],
        }
    )


def _stars(book: int, request: Request) -> dict[str, int]:
    """Stars by reviewer; empty when ratings doesn't answer: a review is worth showing."""
    reply = upstreams.get(RATINGS, f"/ratings/{book}", request.forwarded())
    return json.loads(reply.body)["ratings"] if reply.status == 200 else {}


def _rating(stars: dict[str, int] | None, reviewer: str) -> dict[str, object]:
    if stars is None:
        return {}
    if reviewer not in stars:
        return {"rating": {"error": "Ratings service is currently unavailable"}}
    return {"rating": {"stars": stars[reviewer], "color": COLOURS.get(VERSION, "black")}}


if __name__ == "__main__":
    serve(f"reviews {VERSION}", reviews)
