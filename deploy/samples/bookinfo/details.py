"""details: what is printed on the inside of a book's cover."""

from __future__ import annotations

from web import Request, Response, answer, not_found, number_after, serve


def details(request: Request) -> Response:
    """Answer GET /details/<id> and /health."""
    if request.path == "/health":
        return answer({"status": "Details is healthy"})
    book = number_after("/details/", request.path)
    if book is None:
        return not_found(request)
    return answer(
        {
            "id": book,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }
    )


if __name__ == "__main__":
    serve("details", details)
