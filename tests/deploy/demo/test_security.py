from __future__ import annotations

from deploy.demo.security import SERVICES, in_full


def test_urls_for_other_namespaces() -> None:
    assert in_full(SERVICES["ratings"]) == "http://ratings.bookinfo:9080/ratings/0"
