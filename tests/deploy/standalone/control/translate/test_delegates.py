"""VirtualServices that leave rules to others."""

from __future__ import annotations

import pytest

from deploy.standalone.control.objects import Key
from deploy.standalone.control.routing import (
    ClaimMatch,
    FieldMatch,
    MatchKind,
    RouteMatch,
    Source,
    TextMatch,
)
from deploy.standalone.control.translate.delegates import narrowed
from tests.deploy.standalone.control.helpers import Mesh
from tests.deploy.standalone.control.translate.test_resources import rides
from tests.deploy.standalone.control.translate.test_tokens import WEB, issuer, tokens
from tests.deploy.standalone.control.translate.test_virtual import mesh_of, told, virtual
from tests.waypoint.filters.jwt.tokens import ISSUER, claims, token
from tests.waypoint.mesh import running
from tests.waypoint.mesh import service as serving
from tests.waypoint.wire import client
from ztunnel_compat.model import Extension

ABORT = "abort: {httpStatus: %d, percentage: {value: 100}}"
TO_WEB = "route: [{destination: {host: web}}]"


def root(more: str = "match: [{uri: {prefix: /api}}]", delegate: str = "name: api") -> str:
    return virtual(f"hosts: [web]\nhttp:\n- {{delegate: {{{delegate}}}, name: r, {more}}}")


def leaf(*rules: str, name: str = "api", namespace: str = "shop", more: str = "") -> str:
    listed = "".join(f"\n- {{{rule}}}" for rule in rules or (TO_WEB,))
    return virtual(f"{more}\nhttp:{listed}", name, namespace)


def exact(value: str) -> TextMatch:
    return TextMatch(MatchKind.EXACT, value)


def prefix(value: str, *, fold: bool = False) -> TextMatch:
    return TextMatch(MatchKind.PREFIX, value, fold)


def regex(value: str) -> TextMatch:
    return TextMatch(MatchKind.REGEX, value)


ANY = RouteMatch().path
PRESENT = TextMatch(MatchKind.PRESENT)


@pytest.mark.parametrize(
    ("outer", "inner", "both"),
    [
        (ANY, ANY, ANY),
        (ANY, prefix("/a"), prefix("/a")),
        (prefix("/a"), ANY, prefix("/a")),
        (prefix("/a"), prefix("/a/b"), prefix("/a/b")),
        (prefix("/a"), exact("/a/b"), exact("/a/b")),
        (exact("/a"), exact("/a"), exact("/a")),
        (regex("/a"), regex("/a"), regex("/a")),
        (prefix("/A", fold=True), exact("/a/b"), None),
        (prefix("/A", fold=True), prefix("/a/b", fold=True), prefix("/a/b", fold=True)),
        (prefix("/a/b"), prefix("/a"), None),
        (exact("/a"), prefix("/a"), None),
        (exact("/a"), exact("/b"), None),
        (regex("/a.*"), exact("/ab"), None),
        (prefix("/a"), regex("/a.*"), None),
    ],
)
def test_paths(outer: TextMatch, inner: TextMatch, both: TextMatch | None) -> None:
    found = narrowed(RouteMatch(path=outer), RouteMatch(path=inner))
    assert (found and found.path) == both


def test_claims_of_both_count() -> None:
    outer, inner = (ClaimMatch((name,), exact("1")) for name in ("a", "b"))
    found = narrowed(RouteMatch(claims=(outer,), port=80), RouteMatch(claims=(inner,)))
    assert found is not None
    assert (found.claims, found.port) == ((outer, inner), 80)


def header(name: str, text: TextMatch, *, inverted: bool = False) -> FieldMatch:
    return FieldMatch(name, text, inverted)


@pytest.mark.parametrize(
    ("outer", "inner", "both"),
    [
        ([header("a", exact("1"))], [], [header("a", exact("1"))]),
        ([], [header("a", exact("1"))], [header("a", exact("1"))]),
        ([header("a", exact("1"))], [header("b", exact("2"))],
         [header("a", exact("1")), header("b", exact("2"))]),
        ([header("a", exact("1"))], [header("a", exact("1"))], [header("a", exact("1"))]),
        ([header("a", exact("1"))], [header("a", exact("2"))], None),
        ([header("a", prefix("1"))], [header("a", exact("12"))], [header("a", exact("12"))]),
        ([header("a", PRESENT)], [header("a", exact("1"))], [header("a", exact("1"))]),
        ([header("a", exact("1"))], [header("a", PRESENT)], [header("a", exact("1"))]),
        ([header("a", exact("1"), inverted=True)], [header("a", exact("2"))],
         [header("a", exact("1"), inverted=True), header("a", exact("2"))]),
    ],
)  # fmt: skip
def test_headers(
    outer: list[FieldMatch], inner: list[FieldMatch], both: list[FieldMatch] | None
) -> None:
    for field in ("headers", "query"):
        made = [RouteMatch(**{field: tuple(each)}) for each in (outer, inner)]  # type: ignore[arg-type]
        found = narrowed(*made)
        assert (list(getattr(found, field)) if found else None) == both


@pytest.mark.parametrize(
    ("outer", "inner", "both"),
    [
        (Source(), Source(("a",)), Source(("a",))),
        (Source(("a",)), Source(), Source(("a",))),
        (Source(("a",)), Source(("b",)), None),
        (Source((), {"x": "1"}), Source((), {"y": "2"}), Source((), {"x": "1", "y": "2"})),
        (Source((), {"x": "1"}), Source((), {"x": "2"}), None),
    ],
)
def test_sources(outer: Source, inner: Source, both: Source | None) -> None:
    found = narrowed(RouteMatch(source=outer), RouteMatch(source=inner))
    assert (found and found.source) == both


@pytest.mark.parametrize(
    ("outer", "inner", "both"), [(0, 80, 80), (80, 0, 80), (80, 80, 80), (80, 81, None)]
)
def test_ports(outer: int, inner: int, both: int | None) -> None:
    found = narrowed(RouteMatch(port=outer), RouteMatch(port=inner))
    assert (found and found.port) == both


def accepted(mesh: Mesh) -> dict[str, bool]:
    names = ("web", "api")
    return {n: mesh.view.attachments.accepted[Key("VirtualService", "shop", n)] for n in names}


def test_a_delegates_rules_take_the_place_of_one() -> None:
    mesh = mesh_of(
        root("match: [{uri: {prefix: /api}}], timeout: 3s"),
        leaf(
            f"match: [{{uri: {{prefix: /api/v1}}}}], name: one, {TO_WEB}, timeout: 7s",
            f"name: two, {TO_WEB}",
        ),
    )
    text = rides(mesh)
    order = ('prefix: "/api/v1"', "seconds: 7", "shop.web.r-one", 'prefix: "/api"')
    places = [text.index(part) for part in (*order, "seconds: 3", "shop.web.r-two")]
    assert places == sorted(places)
    assert accepted(mesh) == {"web": True, "api": True}
    assert mesh.messages() == []


async def test_a_delegate_keeps_its_own_fault_and_both_claims_count() -> None:
    claim = "headers: {'@request.auth.claims.%s': {exact: %s}}"
    mesh = mesh_of(
        tokens(WEB + issuer(ISSUER)),
        root(f"match: [{{{claim % ('groups', 'testers')}}}], fault: {{{ABORT % 418}}}"),
        leaf(
            f"match: [{{{claim % ('sub', 'anna')}}}], name: own, {TO_WEB}, "
            f"fault: {{{ABORT % 503}}}",
            f"name: left, {TO_WEB}",
        ),
    )
    assert mesh.messages() == []
    carried = [
        Extension(
            each.name.replace("web.shop", "web.apps"), each.config.type_url, each.config.value
        )
        for each in mesh.service("web").extensions
    ]
    async with running() as waypoint:
        waypoint.push(serving("web", *carried))
        waypoint.ask("web")
        async with client(waypoint) as peer:
            for said, status in (
                ({"groups": "testers", "sub": "anna"}, b"503 "),
                ({"groups": "testers", "sub": "bob"}, b"418 "),
                ({"groups": "others", "sub": "anna"}, b"404 "),
                ({"sub": "anna"}, b"404 "),
            ):
                text = token(claims(**said))
                head, _ = await peer.get("/", f"Authorization: Bearer {text}")
                assert head.startswith(b"http/1.1 " + status), said
        assert waypoint.worker.stats.filters["fault.aborts_injected"] == 2


def test_one_of_another_namespace_has_to_be_exported() -> None:
    other = leaf(
        "route: [{destination: {host: web.shop.svc.cluster.local}}]",
        namespace="store",
        more="exportTo: [%s]",
    )
    delegate = "name: api, namespace: store"
    shown = mesh_of(root(delegate=delegate), other % "shop")
    assert not told(shown, "delegate")
    assert "status: 503" not in rides(shown)
    hidden = mesh_of(root(delegate=delegate), other % ".")
    assert told(hidden, "VirtualService store/api isn't exported to shop")
    assert "status: 503" in rides(hidden)


def test_a_delegate_that_is_not_there_lets_nothing_through() -> None:
    mesh = mesh_of(root())
    assert told(mesh, "there is no VirtualService shop/api without hosts")
    text = rides(mesh)
    assert "status: 503" in text
    assert "outbound|80||web" not in text


def test_what_is_not_within_the_rule_is_named() -> None:
    mesh = mesh_of(root(), leaf(f"match: [{{uri: {{prefix: /other}}}}], {TO_WEB}", TO_WEB))
    assert told(mesh, "http[0] of VirtualService shop/api has a match that is in none")
    assert '"/other"' not in rides(mesh)


def test_who_is_named_by_nobody_is_noticed() -> None:
    assert told(mesh_of(leaf()), "without effect: it has no hosts, and nobody delegates to it")
