from __future__ import annotations

import pytest

from daemon.dns.names import Alias, aliases, with_wildcards

DOMAIN = "cluster.local"


@pytest.mark.parametrize(
    ("asked", "stands_for"),
    [
        ("web", [Alias("web"), Alias("web.app.svc.cluster.local")]),
        (
            "web.ns",
            [
                Alias("web.ns"),
                Alias("web.ns.svc.cluster.local"),
                Alias("web.ns.app.svc.cluster.local"),
            ],
        ),
        (
            "web.ns.svc",
            [
                Alias("web.ns.svc"),
                Alias("web.ns.svc.cluster.local"),
                Alias("web.ns.svc.svc.cluster.local"),
            ],
        ),
        ("a.web.ns", [Alias("a.web.ns"), Alias("a.web.ns.svc.cluster.local")]),
        ("a.web.ns.svc", [Alias("a.web.ns.svc"), Alias("a.web.ns.svc.cluster.local")]),
        ("a.web.ns.other", [Alias("a.web.ns.other")]),
        (
            "web.ns.svc.cluster.local",
            [
                Alias("web.ns.svc.cluster.local"),
                Alias("web.ns", 2),
                Alias("web.ns.app.svc.cluster.local", 2),
                Alias("web.ns.svc", 3),
                Alias("web.ns.svc.svc.cluster.local", 3),
            ],
        ),
        (
            "db.example.com.app.svc.cluster.local",
            [
                Alias("db.example.com.app.svc.cluster.local"),
                Alias("db.example.com", 3),
                Alias("db.example.com.svc.cluster.local", 3),
                Alias("db.example.com.app", 4),
                Alias("db.example.com.app.svc", 5),
            ],
        ),
        (
            "cluster.local",
            [
                Alias("cluster.local"),
                Alias("cluster.local.svc.cluster.local"),
                Alias("cluster.local.app.svc.cluster.local"),
            ],
        ),
    ],
)
def test_what_a_name_stands_for(asked: str, stands_for: list[Alias]) -> None:
    assert list(aliases(asked, "app", DOMAIN)) == stands_for


def test_another_namespaces_search_domain_is_a_service() -> None:
    kept = {alias.name: alias.kept for alias in aliases(f"web.ns.svc.{DOMAIN}", "ns", DOMAIN)}
    assert kept["web"] == 1
    assert kept["web.ns"] == 2
    assert kept[f"web.ns.svc.{DOMAIN}"] == 0


def test_wildcards_from_the_narrowest() -> None:
    assert list(with_wildcards("a.b.c")) == ["a.b.c", "*.b.c", "*.c"]
    assert list(with_wildcards("a")) == ["a"]
