"""What a VirtualService's HTTP rules do to requests and responses."""

from __future__ import annotations

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.texts import check_header, check_host, check_regex
from deploy.standalone.control.routing import (
    DEFAULT_RETRY,
    NO_EDITS,
    Cors,
    Edits,
    HeaderEdits,
    MatchKind,
    PathEdit,
    PathEditKind,
    Redirect,
    Retry,
    TextMatch,
)

STATUSES = (301, 302, 303, 307, 308)
#: What Istio's validator accepts in retryOn, beside statuses.
RETRY_ON = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
    "retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers",
    "envoy-ratelimited", "http3-post-connect-failure", "cancelled", "deadline-exceeded",
    "internal", "resource-exhausted", "unavailable",
)  # fmt: skip
HOSTS = (":authority", "host")
NO_RETRY = Retry(attempts=0)


def read_edits(fields: Fields) -> tuple[Edits, str]:
    """Read ``headers``; also a new Host, which Istio lets be written as a header."""
    if fields.missing:
        return NO_EDITS, ""
    request, authority = read_operations(fields.child("request"), host=True)
    response, _ = read_operations(fields.child("response"), host=False)
    fields.end()
    return Edits(request, response), authority


def read_operations(fields: Fields, *, host: bool) -> tuple[HeaderEdits, str]:
    """Read set, add and remove."""
    pairs = {name: fields.labels(name) for name in ("set", "add")}
    authority = ""
    for key in HOSTS if host else ():
        authority = pairs["set"].pop(key, "") or authority
    removed = fields.texts("remove")
    for name, found in pairs.items():
        for key, value in found.items():
            no_pseudo(fields, name, key)
            check_header(fields, name, key.removeprefix(":"), value)
    for key in removed:
        no_pseudo(fields, "remove", key)
    fields.end()
    return HeaderEdits(
        tuple(pairs["set"].items()), tuple(pairs["add"].items()), removed
    ), authority


def no_pseudo(fields: Fields, name: str, key: str) -> None:
    """Report an edit of what is no header, or of what others rely on."""
    if key.startswith(":") or key.lower() == "host":
        fields.wrong(name, f"{key} can't be edited: use rewrite.authority or rewrite.uri")


def read_rewrite(fields: Fields) -> tuple[str, PathEdit | None]:
    """Read ``rewrite``: a new Host, and what becomes of the path."""
    if fields.missing:
        return "", None
    uri, authority = fields.text("uri"), fields.text("authority")
    check_host(fields, "authority", authority.partition(":")[0])
    regex = fields.child("uriRegexRewrite")
    path = PathEdit(PathEditKind.PREFIX, uri) if uri else None
    if not regex.missing:
        pattern = regex.required("match")
        check_regex(regex, pattern, "match")
        if uri:
            fields.wrong("uriRegexRewrite", "give either uri or uriRegexRewrite")
        path = PathEdit(PathEditKind.REGEX, regex.text("rewrite"), pattern)
        regex.end()
    if not path and not authority:
        fields.wrong("", "needs uri, uriRegexRewrite or authority")
    fields.end()
    return authority, path


def read_redirect(fields: Fields) -> Redirect | None:
    """Read ``redirect``."""
    if fields.missing:
        return None
    status = fields.integer("redirectCode", 301, 100, 599)
    if status not in STATUSES:
        fields.wrong("redirectCode", f"{status} is none of {', '.join(map(str, STATUSES))}")
    scheme, uri = fields.text("scheme"), fields.text("uri")
    if scheme not in {"", "http", "https"}:
        fields.wrong("scheme", f"{scheme!r} is neither http nor https")
    port = fields.integer("port", 0, 1, 65535)
    derived = fields.text("derivePort")
    if derived not in {"", "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"}:
        fields.wrong(
            "derivePort", f"{derived!r} is not FROM_PROTOCOL_DEFAULT, FROM_REQUEST_PORT"
        )
    if port and derived:
        fields.wrong("derivePort", "give either port or derivePort")
    authority = fields.text("authority")
    check_host(fields, "authority", authority.partition(":")[0])
    fields.end()
    return Redirect(
        status=status,
        scheme=scheme,
        host=authority,
        port=port,
        from_request=derived == "FROM_REQUEST_PORT",
        path=read_uri(uri),
    )


def read_uri(uri: str) -> PathEdit | None:
    """A redirect's uri; %PREFIX()% in front keeps what follows the prefix (Istio)."""
    if not uri:
        return None
    if uri.startswith("%PREFIX()%"):
        return PathEdit(PathEditKind.PREFIX, uri.removeprefix("%PREFIX()%"))
    return PathEdit(PathEditKind.FULL, uri)


def read_retries(fields: Fields) -> tuple[Retry, float]:
    """Read ``retries``, and perTryTimeout of it. No attempts: no retries at all."""
    if fields.missing:
        return DEFAULT_RETRY, 0.0
    attempts = fields.integer("attempts", DEFAULT_RETRY.attempts, 0, 1000)
    on, statuses = read_conditions(fields)
    retry = Retry(
        attempts=attempts,
        on=on,
        statuses=statuses,
        backoff=read_time(fields, "backoff") or 0.0,
        remote=fields.boolean("retryRemoteLocalities"),
        avoid_previous=fields.boolean("retryIgnorePreviousHosts", default=True),
    )
    each = read_time(fields, "perTryTimeout", zero=True) or 0.0
    if not attempts:
        for name in ("retryOn", "backoff"):
            if fields.has(name):
                fields.wrong(name, "goes with attempts: 0 means that nothing is repeated")
    fields.end()
    return (retry if attempts else NO_RETRY), each


def read_conditions(fields: Fields) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Read ``retryOn``: Envoy's words and statuses, with a comma between."""
    text = fields.text("retryOn")
    if not text:
        return DEFAULT_RETRY.on, ()
    on: list[str] = []
    statuses: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if part.isdecimal() and 100 <= int(part) <= 599:
            statuses.append(int(part))
        elif part in RETRY_ON:
            on.append(part)
        else:
            known = ", ".join(RETRY_ON)
            fields.wrong("retryOn", f"{part!r} is no status, nor one of {known}")
    if statuses and "retriable-status-codes" not in on:
        on.append("retriable-status-codes")
    return tuple(on), tuple(statuses)


def read_cors(fields: Fields) -> Cors | None:
    """Read ``corsPolicy``."""
    if fields.missing:
        return None
    origins = [TextMatch(MatchKind.EXACT, text) for text in fields.texts("allowOrigin")]
    origins = [
        TextMatch(MatchKind.REGEX, ".*") if origin.value == "*" else origin
        for origin in origins
    ]
    for inner in fields.children("allowOrigins"):
        origins.append(read_origin(inner))
    unmatched = fields.choice(
        "unmatchedPreflights", ("UNSPECIFIED", "FORWARD", "IGNORE"), "UNSPECIFIED"
    )
    cors = Cors(
        origins=tuple(origins),
        methods=fields.texts("allowMethods"),
        headers=fields.texts("allowHeaders"),
        exposed=fields.texts("exposeHeaders"),
        max_age=read_time(fields, "maxAge", zero=True),
        credentials=fields.boolean("allowCredentials")
        if fields.has("allowCredentials")
        else None,
        forward_unmatched=None if unmatched == "UNSPECIFIED" else unmatched == "FORWARD",
    )
    fields.end()
    return cors


def read_origin(inner: Fields) -> TextMatch:
    """One of ``allowOrigins``."""
    kinds = {"exact": MatchKind.EXACT, "prefix": MatchKind.PREFIX, "regex": MatchKind.REGEX}
    given = [kind for kind in kinds if inner.has(kind)]
    if len(given) != 1:
        inner.wrong("", f"give one of {', '.join(kinds)}")
        return TextMatch(MatchKind.EXACT)
    value = inner.text(given[0])
    if given[0] == "regex":
        check_regex(inner, value, "regex")
    inner.end()
    if (given[0], value) == ("exact", "*"):
        return TextMatch(MatchKind.REGEX, ".*")
    return TextMatch(kinds[given[0]], value)
