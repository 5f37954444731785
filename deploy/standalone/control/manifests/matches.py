"""The conditions of an HTTPRoute's rules, with the Gateway API's order of them."""

from __future__ import annotations

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.texts import TOKEN, check_regex
from deploy.standalone.control.routing import FieldMatch, MatchKind, RouteMatch, TextMatch

METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
)  # fmt: skip
KINDS = {
    "Exact": MatchKind.EXACT,
    "PathPrefix": MatchKind.SEGMENTS,
    "RegularExpression": MatchKind.REGEX,
}
#: The Gateway API leaves a regular expression's place open: before prefixes, or
#: one beside a rule for "/" could never match.
RANKS = {MatchKind.EXACT: 0, MatchKind.REGEX: 1, MatchKind.SEGMENTS: 2}
ANYTHING = RouteMatch(rank=(RANKS[MatchKind.SEGMENTS], -1, True, 0, 0))
#: What the Gateway API forbids in a path: normalisation would change its meaning.
NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F", "#")


def read_match(fields: Fields) -> RouteMatch:
    """Read one of ``matches``."""
    path = fields.child("path")
    method = fields.text("method")
    if method and method not in METHODS:
        fields.wrong("method", f"{method!r} is none of {', '.join(METHODS)}")
    text = TextMatch(MatchKind.SEGMENTS, "/") if path.missing else read_path(path)
    headers = first_of_each(read_values(fields, "headers"), fold=True)
    query = first_of_each(read_values(fields, "queryParams"), fold=False)
    fields.end()
    return RouteMatch(
        path=text,
        headers=(*method_match(method), *headers),
        query=query,
        rank=(RANKS[text.kind], -len(text.value), not method, -len(headers), -len(query)),
    )


def method_match(method: str) -> tuple[FieldMatch, ...]:
    """A method as the pseudo header that it is; nothing for none."""
    return (FieldMatch(":method", TextMatch(MatchKind.EXACT, method)),) if method else ()


def read_path(fields: Fields) -> TextMatch:
    """Read ``path``; a prefix's last slash makes no difference, and is left out."""
    kind = KINDS[fields.choice("type", list(KINDS), "PathPrefix")]
    value = fields.text("value", "/")
    if kind is MatchKind.REGEX:
        check_regex(fields, value)
    else:
        check_path(fields, "value", value)
    fields.end()
    return TextMatch(kind, (value.rstrip("/") or "/") if kind is MatchKind.SEGMENTS else value)


def check_path(fields: Fields, name: str, value: str) -> None:
    """Report a path that no request has after normalisation."""
    if not value.startswith("/"):
        fields.wrong(name, f"{value!r} must begin with /")
    bad = [part for part in NOT_IN_PATHS if part in value]
    bad += [end for end in ("/..", "/.") if value.endswith(end)]
    if bad:
        fields.wrong(name, f"{value!r} must not contain {bad[0]}")


def read_values(fields: Fields, name: str) -> list[FieldMatch]:
    """Read ``headers`` or ``queryParams``."""
    found = []
    for inner in fields.children(name):
        kind = KINDS[inner.choice("type", ("Exact", "RegularExpression"), "Exact")]
        key = inner.required("name")
        if key and not TOKEN.fullmatch(key):
            inner.wrong("name", f"{key!r} is no name of a {name[:-1]}")
        value = inner.required("value")
        if kind is MatchKind.REGEX:
            check_regex(inner, value)
        inner.end()
        found.append(FieldMatch(key, TextMatch(kind, value)))
    return found


def first_of_each(values: list[FieldMatch], *, fold: bool) -> tuple[FieldMatch, ...]:
    """Without repetitions of a name: the Gateway API counts the first only."""
    found: dict[str, FieldMatch] = {}
    for value in values:
        found.setdefault(value.name.lower() if fold else value.name, value)
    return tuple(found.values())
