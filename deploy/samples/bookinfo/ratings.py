"""ratings: how many stars each reviewer gives."""

from __future__ import annotations

from web import Request, Response, answer, not_found, number_after, serve


def ratings(request: Request) -> Response:
    """Answer GET /ratings/<id> and /health."""
    if request.path == "/health":
        return answer({"status": "Ratings is healthy"})
    book = number_after("/ratings/", request.path)
    if book is None:
        return not_found(request)
    return answer({"id": book, "ratings": {"Reviewer1": 5, "Reviewer2": 4}})


if __name__ == "__main__":
    serve("ratings", ratings)
