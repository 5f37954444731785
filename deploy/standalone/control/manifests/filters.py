"""The filters of Gateway API routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.matches import check_path
from deploy.standalone.control.manifests.origins import read_cors
from deploy.standalone.control.manifests.parents import read_backend
from deploy.standalone.control.manifests.texts import check_header, check_host
from deploy.standalone.control.routing import (
    NO_EDITS,
    Cors,
    Edits,
    HeaderEdits,
    Mirror,
    PathEdit,
    PathEditKind,
    Redirect,
)

STATUSES = (301, 302, 303, 307, 308)
WHOLE = 1_000_000
#: type → the field that says more.
BODIES = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "RequestMirror": "requestMirror",
    "CORS": "cors",
}
#: Of a backend: what can differ between shares of one rule's requests.
OF_BACKENDS = ("RequestHeaderModifier", "ResponseHeaderModifier")
OF_GRPC = (*OF_BACKENDS, "RequestMirror")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a rule's, or a backend's, filters come to."""

    edits: Edits = NO_EDITS
    redirect: Redirect | None = None
    host: str = ""
    path: PathEdit | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None


def read_filters(fields: Fields, namespace: str, allowed: tuple[str, ...]) -> Filters:
    """Read ``filters``; allowed: the types that make sense here."""
    found = Filters()
    seen = set()
    for inner in fields.children("filters"):
        kind = inner.required("type")
        if kind and kind not in allowed:
            why = "use another" if kind in BODIES else "unknown here"
            inner.wrong("type", f"not supported: {kind}, {why}: {', '.join(allowed)}")
            continue
        if not kind:
            continue
        if kind in seen and kind != "RequestMirror":
            inner.wrong("type", f"{kind} is there twice: one does it")
        seen.add(kind)
        body = inner.child(BODIES[kind])
        if body.missing:
            inner.wrong(BODIES[kind], f"missing: it says what {kind} does")
        found = READERS[kind](body, namespace, found)
        body.end()
        inner.end()
    if found.redirect and (found.host or found.path):
        fields.wrong("filters", "give either RequestRedirect or URLRewrite")
    return found


def request_edits(body: Fields, _namespace: str, found: Filters) -> Filters:
    """Read ``requestHeaderModifier``."""
    return replace(found, edits=replace(found.edits, request=read_edits(body)))


def response_edits(body: Fields, _namespace: str, found: Filters) -> Filters:
    """Read ``responseHeaderModifier``."""
    return replace(found, edits=replace(found.edits, response=read_edits(body)))


def read_edits(body: Fields) -> HeaderEdits:
    """Read set, add and remove; the first of a name counts."""
    removed = body.texts("remove")
    for name in removed:
        check_header(body, "remove", name)
    return HeaderEdits(read_pairs(body, "set"), read_pairs(body, "add"), removed)


def read_pairs(body: Fields, name: str) -> tuple[tuple[str, str], ...]:
    """Names and values; a percent sign is doubled, since Envoy's values have variables."""
    found: dict[str, tuple[str, str]] = {}
    for inner in body.children(name):
        key, value = inner.required("name"), inner.text("value")
        check_header(inner, "name", key, value)
        inner.end()
        found.setdefault(key.lower(), (key, value.replace("%", "%%")))
    return tuple(found.values())


def redirect(body: Fields, _namespace: str, found: Filters) -> Filters:
    """Read ``requestRedirect``."""
    scheme = body.text("scheme")
    if scheme and scheme not in {"http", "https"}:
        body.wrong("scheme", f"{scheme!r} is neither http nor https")
    status = body.integer("statusCode", 302, 100, 599)
    if status not in STATUSES:
        body.wrong("statusCode", f"{status} is none of {', '.join(map(str, STATUSES))}")
    port = body.integer("port", 0, 1, 65535)
    made = Redirect(
        status=status,
        scheme=scheme,
        host=read_hostname(body),
        port=port,
        from_request=not port and not scheme,
        path=read_path_edit(body),
    )
    return replace(found, redirect=made)


def rewrite(body: Fields, _namespace: str, found: Filters) -> Filters:
    """Read ``urlRewrite``."""
    return replace(found, host=read_hostname(body), path=read_path_edit(body))


def read_hostname(body: Fields) -> str:
    """Read ``hostname``; empty for none."""
    host = body.text("hostname")
    check_host(body, "hostname", host)
    return host


def read_path_edit(body: Fields) -> PathEdit | None:
    """Read ``path`` of a redirect or a rewrite."""
    path = body.child("path")
    if path.missing:
        return None
    kinds = {
        "ReplaceFullPath": ("replaceFullPath", PathEditKind.FULL),
        "ReplacePrefixMatch": ("replacePrefixMatch", PathEditKind.SEGMENTS),
    }
    name, kind = kinds[path.choice("type", list(kinds), "ReplaceFullPath")]
    value = path.text(name)
    if path.value(name) is None:
        path.wrong(name, "missing")
    if value:
        check_path(path, name, value)
    path.end()
    return PathEdit(kind, value or "/")


def mirror(body: Fields, namespace: str, found: Filters) -> Filters:
    """Read ``requestMirror``; without percent and fraction, of all requests."""
    backend = read_backend(body.child("backendRef"), namespace, weighted=False)
    percent, fraction = body.has("percent"), body.child("fraction")
    share = body.integer("percent", 100, 0, 100) * WHOLE // 100
    if percent and not fraction.missing:
        body.wrong("fraction", "give either percent or fraction")
    if not fraction.missing:
        most = fraction.integer("denominator", 100, 1, (1 << 31) - 1)
        share = fraction.integer("numerator", 0, 0, most) * WHOLE // most
        if fraction.value("numerator") is None:
            fraction.wrong("numerator", "missing")
        fraction.end()
    return replace(found, mirrors=(*found.mirrors, Mirror(backend, share)))


def cors(body: Fields, _namespace: str, found: Filters) -> Filters:
    """Read ``cors``."""
    return replace(found, cors=read_cors(body))


READERS: dict[str, Callable[[Fields, str, Filters], Filters]] = {
    "RequestHeaderModifier": request_edits,
    "ResponseHeaderModifier": response_edits,
    "RequestRedirect": redirect,
    "URLRewrite": rewrite,
    "RequestMirror": mirror,
    "CORS": cors,
}
