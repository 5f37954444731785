"""The conditions of a VirtualService's HTTP rules."""

from __future__ import annotations

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import LABEL
from deploy.standalone.control.manifests.texts import TOKEN, check_regex
from deploy.standalone.control.routing import (
    ClaimMatch,
    FieldMatch,
    MatchKind,
    RouteMatch,
    Source,
    TextMatch,
)

#: Attributes, and the pseudo headers that they are.
PSEUDO = {"method": ":method", "scheme": ":scheme", "authority": ":authority"}
#: Istio passes these over among headers: they have fields of their own.
RESERVED = {"uri", "scheme", "method", "authority"}
KINDS = {"exact": MatchKind.EXACT, "prefix": MatchKind.PREFIX, "regex": MatchKind.REGEX}
ANYTHING = RouteMatch()
#: What isn't a header, among headers: a claim of the request's token, as .x or [x][y].
CLAIMS = "@request.auth.claims"


def read_match(fields: Fields) -> RouteMatch:
    """Read one of ``match``; its ``gateways`` are somebody else's to read."""
    fields.ignore("name", "statPrefix", "gateways")
    path = read_text(fields, "uri")
    folds = fields.boolean("ignoreUriCase")
    if path is None:
        path = ANYTHING.path
    elif folds and path.kind is not MatchKind.REGEX:
        path = TextMatch(path.kind, path.value, ignore_case=True)
    headers = [
        FieldMatch(pseudo, text)
        for name, pseudo in PSEUDO.items()
        if (text := read_text(fields, name))
    ]
    found, without = read_fields(fields, "headers"), read_fields(fields, "withoutHeaders")
    headers += [each for each in found if not is_claim(each.name)]
    headers += [
        FieldMatch(each.name, each.text, inverted=True)
        for each in without
        if not is_claim(each.name)
    ]
    claims = [
        ClaimMatch(claim_path(each.name), each.text, inverted=inverted)
        for inverted, group in ((False, found), (True, without))
        for each in group
        if is_claim(each.name)
    ]
    namespace = fields.text("sourceNamespace")
    if namespace and not LABEL.fullmatch(namespace):
        fields.wrong("sourceNamespace", f"{namespace!r} is no name of a namespace")
    source = Source((namespace,) if namespace else (), fields.labels("sourceLabels"))
    match = RouteMatch(
        path=path,
        headers=tuple(headers),
        query=tuple(read_fields(fields, "queryParams")),
        source=source,
        claims=tuple(claims),
        port=fields.integer("port", 0, 1, 65535),
    )
    fields.end()
    return match


def read_fields(fields: Fields, name: str) -> list[FieldMatch]:
    """Read ``headers``, ``withoutHeaders`` or ``queryParams``: text matches by name."""
    inner = fields.child(name)
    found = []
    for key in sorted(inner.values):
        if name != "queryParams" and is_claim(key):
            if not all(claim_path(key)):
                inner.wrong(key, f"name the claim: {CLAIMS}.name, or {CLAIMS}[name][inner]")
        elif not TOKEN.fullmatch(key):
            inner.wrong(key, f"{key!r} can't be the name of one")
        if name != "queryParams" and key in RESERVED:
            inner.wrong(key, f"is no header: use the match's own field {key}")
        found.append(FieldMatch(key, read_text(inner, key) or TextMatch(MatchKind.PRESENT)))
    return found


def is_claim(name: str) -> bool:
    """Whether a claim is meant, and no header."""
    return name.lower().startswith(CLAIMS)


def claim_path(name: str) -> tuple[str, ...]:
    """The names that lead to a claim; one is empty where that can't be read."""
    said = name[len(CLAIMS) :]
    if said.startswith("[") and said.endswith("]"):
        return tuple(said[1:-1].split("]["))
    return tuple(said[1:].split(".")) if said.startswith(".") else ("",)


def read_text(fields: Fields, name: str) -> TextMatch | None:
    """Read a ``StringMatch``; None when it is absent or says nothing."""
    inner = fields.child(name)
    given = [kind for kind in KINDS if inner.value(kind) is not None]
    if len(given) > 1:
        inner.wrong(given[1], f"give one of {', '.join(KINDS)}")
    texts = {kind: inner.text(kind) for kind in given}
    inner.end()
    for kind, value in texts.items():
        if kind == "regex":
            check_regex(inner, value, kind)
        return TextMatch(KINDS[kind], value)
    return None
