"""The four services, one by one and as the whole application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bookinfo import App, Apps


@pytest.fixture
def apps() -> Iterator[Apps]:
    apps = Apps()
    yield apps
    apps.close()


@pytest.fixture(scope="module")
def bookinfo() -> Iterator[dict[str, App]]:
    """The whole application, its page in front of reviews v2: `page`, and `page-v1`."""
    apps = Apps()
    details = apps.start("details.py")
    ratings = apps.start("ratings.py")
    page = {}
    for version in ("v1", "v2"):
        reviews = apps.start(
            "reviews.py",
            SERVICE_VERSION=version,
            RATINGS=ratings.address,
            POD_NAME=f"reviews-{version}-pod",
        )
        page[version] = apps.start(
            "productpage.py", DETAILS=details.address, REVIEWS=reviews.address
        )
    yield {"page": page["v2"], "page-v1": page["v1"], "details": details, "ratings": ratings}
    apps.close()
