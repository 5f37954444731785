"""Generated RBAC filters and requests, made to meet each other often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.waypoint.draws import Draws

Json = dict[str, Any]
RBAC = "envoy.filters.http.rbac"

IDENTITIES = (
    "spiffe://cluster.local/ns/a/sa/x",
    "spiffe://cluster.local/ns/a/sa/xy",
    "spiffe://cluster.local/ns/b/sa/x",
    "spiffe://other.example/ns/a-b/sa/z",
    "",
)
IDENTITY_MATCHES: tuple[Json, ...] = (
    {"exact": IDENTITIES[0]},
    {"prefix": "spiffe://cluster.local/"},
    {"suffix": "/sa/x"},
    {"safeRegex": {"regex": ".*/ns/a/.*"}},
    {"safeRegex": {"regex": "spiffe://.+/ns/a/(.+/|)sa/x(/.+)?"}},
    {"safeRegex": {"regex": ".+"}},
)
SEGMENTS = (
    "a", "b", "admin", "A", "v1", "index.html", "a%20b", "%41", "%7e", "x^y", "%61", "a;x", "",
)  # fmt: skip
ODD = (
    "..", ".", "...", "..a", "%2e%2e", "%2E", ".%2e", "a%2fb", "..%2fa", "a%5Cb", "..%5c",
    "a\\b", "..\\a", "..;x", ".;y", "%00", "a{b", "%zz", '"',
)  # fmt: skip
PATHS: tuple[Json, ...] = (
    {"exact": "/a"},
    {"exact": "/a/b"},
    {"prefix": "/a"},
    {"prefix": "/admin"},
    {"suffix": "b"},
    {"suffix": "/index.html"},
    {"contains": "//"},
    {"safeRegex": {"regex": "/[^/]+/b"}},
    {"exact": "/ADMIN", "ignoreCase": True},
    {"exact": "/b/A"},
)
TEMPLATES = (
    "/*", "/**", "/a/*", "/*/b", "/a/**", "/*/*/b", "/a/*/**", "/**/b", "/*/index.html",
    "/v1/*l",
)  # fmt: skip
METHODS = ("GET", "POST", "DELETE", "PURGE")
HOSTS = ("web", "web.example", "web.example:80", "other")
VALUES = ("1", "2", "foo", "foobar", "", "a,b")
CLIENTS = ("127.0.0.1", "127.0.0.2", "127.0.1.7", "127.9.0.1")
NETWORKS = (
    ("127.0.0.0", 24), ("127.0.0.2", 32), ("127.0.0.0", 8), ("10.0.0.0", 8), ("::1", 128),
    ("127.0.1.7", 16),
)  # fmt: skip
PAYLOAD: Json = {
    "iss": "https://issuer",
    "sub": "anna",
    "aud": ["web", "shop"],
    "scope": "read",
    "groups": ["admin", "dev"],
    "nested": {"team": "blue", "ids": [1, 2], "deep": {"on": True, "off": None}},
    "level": 3,
}
CLAIMS = (
    ("iss",), ("sub",), ("aud",), ("scope",), ("groups",), ("nested", "team"),
    ("nested", "ids"), ("nested", "deep", "on"), ("nested", "deep", "off"), ("level",),
    ("gone",), ("sub", "x"),
    ("nested",),
)  # fmt: skip


class Policies(Draws):
    """Draws of one seed."""

    def manager(self) -> Json:
        """A connection manager's fields: one or two RBAC filters, and how paths are read."""
        made: Json = {
            "normalizePath": self.some(0.8),
            "mergeSlashes": self.some(0.4),
            "pathWithEscapedSlashesAction": self.pick(
                ("KEEP_UNCHANGED", "KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_FORWARD",
                 "UNESCAPE_AND_REDIRECT")
            ),
        }  # fmt: skip
        made["httpFilters"] = [self.filter() for _ in range(self.pick((1, 1, 2)))]
        return made

    def filter(self) -> Json:
        config: Json = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
        }
        if self.some(0.9):
            config["rules"] = self.rules()
        if self.some(0.3):
            config["shadowRules"] = self.rules()
            config["shadowRulesStatPrefix"] = self.pick(("", "istio_dry_run_allow_"))
        if self.some(0.2):
            config["rulesStatPrefix"] = "p_"
        return {"name": RBAC, "typedConfig": config}

    def rules(self) -> Json:
        names = self.rng.sample(
            ("ns[a]-policy[b]-rule[0]", "b", "A", "a b", "z"), self.pick((0, 1, 1, 2, 3))
        )
        return {
            "action": self.pick(("ALLOW", "ALLOW", "DENY", "DENY", "LOG")),
            "policies": {name: self.policy() for name in names},
        }

    def policy(self) -> Json:
        count = lambda: range(self.pick((1, 1, 2)))  # noqa: E731
        return {
            "permissions": [self.permission(2) for _ in count()],
            "principals": [self.principal(2) for _ in count()],
        }

    def compound(self, depth: int, word: str, one: Callable[[int], Json]) -> Json | None:
        """A condition of others; word: rules or ids."""
        draw = self.rng.random()
        if depth == 0 or draw > 0.45:
            return None
        if draw < 0.12:
            return {"notRule" if word == "rules" else "notId": one(depth - 1)}
        parts = [one(depth - 1) for _ in range(self.pick((1, 2, 3)))]
        kind = "and" if draw < 0.28 else "or"
        return {f"{kind}{word.capitalize()}": {word: parts}}

    def permission(self, depth: int) -> Json:
        made = self.compound(depth, "rules", self.permission)
        if made is not None:
            return made
        kind = self.pick(
            ("any", "header", "header", "path", "path", "path", "template", "template",
             "method", "ip", "port", "range", "metadata", "server")
        )  # fmt: skip
        match kind:
            case "any":
                return {"any": True}
            case "template":
                return {"uriTemplate": template(self.pick(TEMPLATES))}
            case "ip":
                return {"destinationIp": self.network()}
            case "port":
                return {"destinationPort": self.pick((80, 1))}
            case "range":
                start, end = self.pick(((1, 1024), (1024, 65535)))
                return {"destinationPortRange": {"start": start, "end": end}}
            case "server":
                return {"requestedServerName": self.pick(({"exact": "web"}, {"suffix": ".x"}))}
        return self.shared(kind)

    def principal(self, depth: int) -> Json:
        made = self.compound(depth, "ids", self.principal)
        if made is not None:
            return made
        kind = self.pick(
            ("any", "header", "path", "method", "identity", "identity", "identity", "remote",
             "direct", "metadata", "metadata")
        )  # fmt: skip
        match kind:
            case "any":
                return {"any": True}
            case "identity":
                match = self.pick(IDENTITY_MATCHES)
                state = {"key": "io.istio.peer_principal", "stringMatch": match}
                return {"filterState": state}
            case "remote":
                return {"remoteIp": self.network()}
            case "direct":
                return {"directRemoteIp": self.network()}
        return self.shared(kind)

    def shared(self, kind: str) -> Json:
        """What both may be."""
        match kind:
            case "method":
                return {
                    "header": {"name": ":method", "stringMatch": {"exact": self.pick(METHODS)}}
                }
            case "path":
                return {"urlPath": {"path": self.pick(PATHS)}}
            case "metadata":
                return {"metadata": self.metadata()}
        return {"header": self.header()}

    def header(self) -> Json:
        name = self.pick(("x-a", "x-b", ":authority", "x-gone"))
        value = self.pick(VALUES[:4] if name != ":authority" else ("web", "web.example"))
        made: Json = {"name": name}
        match self.pick(("exact", "prefix", "suffix", "present", "contains", "regex", "fold")):
            case "present":
                made["presentMatch"] = True
            case "regex":
                made["stringMatch"] = {"safeRegex": {"regex": f".*{value}"}}
            case "fold":
                made["stringMatch"] = {"exact": value.upper(), "ignoreCase": True}
            case kind:
                made["stringMatch"] = {kind: value}
        if self.some(0.25):
            made["invertMatch"] = True
        return made

    def network(self) -> Json:
        prefix, length = self.pick(NETWORKS)
        return {"addressPrefix": prefix, "prefixLen": length}

    def metadata(self) -> Json:
        keys = ("payload", *self.pick(CLAIMS))
        return {
            "filter": "envoy.filters.http.jwt_authn",
            "path": [{"key": key} for key in keys],
            "value": self.value(1),
            "invert": self.some(0.2),
        }

    def value(self, depth: int) -> Json:
        kinds = (
            "text",
            "text",
            "text",
            "present",
            "bool",
            "null",
            "number",
            "list",
            "list",
            "or",
        )
        match self.pick(kinds if depth else kinds[:7]):
            case "text":
                text = self.pick(("anna", "web", "admin", "blue", "read", "https://issuer"))
                return {"stringMatch": {self.pick(("exact", "prefix", "suffix")): text}}
            case "present":
                return {"presentMatch": self.some(0.8)}
            case "bool":
                return {"boolMatch": self.some(0.7)}
            case "null":
                return {"nullMatch": {}}
            case "number":
                either = ({"exact": 3}, {"range": {"start": 1, "end": 2}}, {"exact": 2})
                return {"doubleMatch": self.pick(either)}
            case "list":
                return {"listMatch": {"oneOf": self.value(0)}}
        return {"orMatch": {"valueMatchers": [self.value(0) for _ in range(2)]}}

    def path(self) -> str:
        pieces = [
            self.pick(ODD) if self.some(0.25) else self.pick(SEGMENTS)
            for _ in range(self.pick((1, 2, 2, 3, 4)))
        ]
        path = "/" + "/".join(pieces)
        return path + self.pick(("", "", "?x=1", "?/../b", "?a//b"))

    def request(self) -> tuple[bytes, str]:
        """A request, and who makes it."""
        lines = [
            f"{self.pick(METHODS[:3])} {self.path()} HTTP/1.1",
            f"host: {self.pick(HOSTS)}",
        ]
        for name in ("x-a", "x-b"):
            lines += [f"{name}: {self.pick(VALUES)}" for _ in range(self.pick((0, 1, 1, 2)))]
        identity = self.pick(IDENTITIES)
        lines += [f"x-peer: {identity}"] if identity else []
        if self.some(0.05):
            lines.append("content-type: application/grpc")
        block = "\r\n".join((*lines, "content-length: 0", "", ""))
        return block.encode(), identity


def template(text: str) -> Json:
    """A uri_template matcher."""
    kind = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3"
    return {
        "name": "envoy.path.match.uri_template.uri_template_matcher",
        "typedConfig": {"@type": f"{kind}.UriTemplateMatchConfig", "pathTemplate": text},
    }
