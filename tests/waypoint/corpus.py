"""Generated route configurations and requests, made to meet each other often."""

from __future__ import annotations

from typing import Any

from tests.waypoint.draws import Draws

Json = dict[str, Any]

CLUSTERS = ("c0", "c1", "c2")
SEGMENTS = ("a", "b", "ab", "A", "v1", "x-y", "1")
NAMES = ("x-a", "x-b", "x-c", "user-agent", "x-gone")
VALUES = (
    "1",
    "2",
    "12",
    "-3",
    "+4",
    "",
    "a,b",
    "Foo",
    "foo",
    "foobar",
    "0x1",
    "1.5",
    "99999999999999999999",
)
REGEXES = ("", "[0-9]+", "(?i)FOO.*", "a.b", "f(o)+", "foo|bar", ".*", "[^,]*", "1|2")
PATH_REGEXES = (
    "/a", "/a/.*", "/(a|b)/([^/]+)", "/[ab]+", ".*", "/v1/.+", "(?i)/A/B", "/a/b?", "/x-y/(.*)",
)  # fmt: skip
SUBSTITUTIONS = (
    ("/a", "/z"), ("^/(a|b)", "/\\1\\1"), ("b*", "-"), ("/([^/]+)/([^/]+)", "/\\2/\\1"),
    ("$", "/end"), ("^/a/*(.*)$", "/\\1"), ("[0-9]", "\\\\\\0"),
)  # fmt: skip
TEMPLATES = (
    "v", "w", "", "100%%", "%REQ(x-a)%", "%REQ(x-gone?x-b)%", "%REQ(:path)%", "%REQ(x-a):1%",
    "<%REQ(:authority)%,%REQ(:METHOD)%>", "%PROTOCOL%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(host)%", "%REQ(x-a?:path):3%",
)  # fmt: skip
RESPONSE_TEMPLATES = (*TEMPLATES, "%RESP(x-r)%", "%RESP(x-gone?x-s):2%")
ACTIONS = (
    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
)  # fmt: skip
ANSWERS = ("x-r: 1", "X-R: 2", "x-s: long", "server: origin", "access-control-allow-origin: *")
ORIGINS = ("http://a.test", "https://b.test", "null", "http://evil.test")


class Corpus(Draws):
    """Draws of one seed."""

    def path(self, longest: int = 3) -> str:
        return "".join(f"/{self.pick(SEGMENTS)}" for _ in range(self.rng.randint(1, longest)))

    # Conditions

    def text_match(self) -> Json:
        kind = self.pick(("exact", "prefix", "suffix", "contains", "safe_regex"))
        if kind == "safe_regex":
            return {kind: {"regex": self.pick(REGEXES[1:])}}
        value = self.pick([v for v in VALUES if v or kind == "exact"])
        return {kind: value} | ({"ignore_case": True} if self.some(0.3) else {})

    def header_match(self) -> Json:
        name = self.pick((*NAMES, ":method", ":authority", ":path", "host", ":scheme"))
        kind = self.pick(("string", "string", "range", "present", "old", "none"))
        match: Json = {"name": name}
        if kind == "string":
            match["string_match"] = self.text_match()
        elif kind == "range":
            start = self.rng.randint(-5, 10)
            match["range_match"] = {"start": start, "end": start + self.rng.randint(1, 10)}
        elif kind == "present":
            match["present_match"] = self.some(0.6)
        elif kind == "old":
            old = self.pick(("exact_match", "prefix_match", "suffix_match", "contains_match"))
            match[old] = self.pick([value for value in VALUES if value])
        if self.some(0.3):
            match["invert_match"] = True
        if self.some(0.3):
            match["treat_missing_header_as_empty"] = True
        return match

    def query_match(self) -> Json:
        match: Json = {"name": self.pick(("q", "r", "Q", "%71"))}
        kind = self.pick(("string", "present", "none"))
        if kind == "string":
            match["string_match"] = self.text_match()
        elif kind == "present":
            match["present_match"] = self.some(0.7)
        return match

    def match(self) -> Json:
        kind = self.pick(("prefix", "path", "path_separated_prefix", "safe_regex", "prefix"))
        match: Json
        if kind == "safe_regex":
            match = {kind: {"regex": self.pick(PATH_REGEXES)}}
        else:
            match = {kind: self.path(2)}
            if kind == "prefix" and self.some(0.4):
                match = {kind: self.pick(("", "/", "/a", "/a/", "/v"))}
            if self.some(0.15):
                match["case_sensitive"] = False
        if self.some(0.3):
            match["headers"] = [self.header_match() for _ in range(self.rng.randint(1, 2))]
        if self.some(0.2):
            match["query_parameters"] = [self.query_match()]
        if self.some(0.05):
            match["grpc"] = {}
        if self.some(0.05):
            share = {"numerator": self.pick((0, 100))}
            match["runtime_fraction"] = {"default_value": share}
        return match

    # Edits

    def additions(self, templates: tuple[str, ...], names: tuple[str, ...]) -> list[Json]:
        made = []
        for _ in range(self.rng.randint(1, 3)):
            header = {"key": self.pick(names), "value": self.pick(templates)}
            option: Json = {"header": header}
            if self.some(0.7):
                option["append_action"] = self.pick(ACTIONS)
            elif self.some(0.3):
                option["append"] = self.some(0.5)
            if self.some(0.3):
                option["keep_empty_value"] = True
            made.append(option)
        return made

    def edits(self, chance: float) -> Json:
        names, answered = (*NAMES, "x-new"), ("x-r", "x-s", "x-new", "server", "vary")
        made: Json = {}
        if self.some(chance):
            made["request_headers_to_add"] = self.additions(TEMPLATES, names)
        if self.some(chance / 2):
            made["request_headers_to_remove"] = [self.pick(names)]
        if self.some(chance):
            made["response_headers_to_add"] = self.additions(RESPONSE_TEMPLATES, answered)
        if self.some(chance / 2):
            made["response_headers_to_remove"] = [self.pick(answered)]
        return made

    def cors(self) -> Json:
        policy: Json = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
        }
        if self.some(0.8):
            matchers = (
                {"exact": self.pick(ORIGINS[:3])},
                {"prefix": "http://"},
                {"exact": "*"},
                {"safe_regex": {"regex": ".*b\\.test"}},
            )
            policy["allow_origin_string_match"] = [self.pick(matchers)]
        for field, value in (
            ("allow_methods", "GET, PUT"), ("allow_headers", "x-a"), ("expose_headers", "x-r"),
            ("max_age", "60"), ("allow_credentials", True), ("allow_credentials", False),
            ("allow_private_network_access", True), ("forward_not_matching_preflights", False),
            ("filter_enabled", {"default_value": {"numerator": self.pick((0, 100))}}),
        ):  # fmt: skip
            if self.some(0.3):
                policy[field] = value
        return {"typed_per_filter_config": {"envoy.filters.http.cors": policy}}

    # Actions

    def substitution(self) -> Json:
        pattern, by = self.pick(SUBSTITUTIONS)
        return {"pattern": {"regex": pattern}, "substitution": by}

    def forward(self) -> Json:
        action: Json = {"timeout": "0s"}
        if self.some(0.5):
            action["cluster"] = self.pick(CLUSTERS)
        else:
            chosen: Json = {"name": self.pick(CLUSTERS), "weight": 7, **self.edits(0.5)}
            if self.some(0.3):
                chosen["host_rewrite_literal"] = "cluster.test"
            action["weighted_clusters"] = {"clusters": [chosen, {"name": "c0", "weight": 0}]}
        if self.some(0.25):
            action["prefix_rewrite"] = self.pick(("/", "/new", "/new/", "x"))
        elif self.some(0.2):
            action["regex_rewrite"] = self.substitution()
        host = self.pick(("literal", "header", "path", "", "", ""))
        if host == "literal":
            action["host_rewrite_literal"] = "other.test"
        elif host == "header":
            action["host_rewrite_header"] = self.pick(("x-a", "x-b", "x-gone"))
        elif host == "path":
            pattern = {"regex": "^/([a-z]+).*$"}
            action["host_rewrite_path_regex"] = {"pattern": pattern, "substitution": "\\1.test"}
        if self.some(0.2):
            action["append_x_forwarded_host"] = True
        return action

    def redirect(self) -> Json:
        action: Json = {}
        if self.some(0.3):
            action["scheme_redirect"] = self.pick(("https", "http"))
        elif self.some(0.2):
            action["https_redirect"] = True
        if self.some(0.4):
            action["host_redirect"] = self.pick(("r.test", "r.test:99"))
        if self.some(0.3):
            action["port_redirect"] = self.pick((80, 443, 8083))
        path = self.pick(("path", "prefix", "regex", "", ""))
        if path == "path":
            action["path_redirect"] = self.pick(("/p", "/p?q=1"))
        elif path == "prefix":
            action["prefix_rewrite"] = self.pick(("/", "/new"))
        elif path == "regex":
            action["regex_rewrite"] = self.substitution()
        if self.some(0.3):
            action["strip_query"] = True
        codes = (
            "MOVED_PERMANENTLY",
            "FOUND",
            "SEE_OTHER",
            "TEMPORARY_REDIRECT",
            "PERMANENT_REDIRECT",
        )
        return action | {"response_code": self.pick(codes)}

    def route(self, number: int) -> Json:
        entry: Json = {"name": f"r{number}", "match": self.match(), **self.edits(0.25)}
        kind = self.pick(("forward", "forward", "forward", "redirect", "direct"))
        if kind == "forward":
            entry["route"] = self.forward()
        elif kind == "redirect":
            entry["redirect"] = self.redirect()
        else:
            body = {"inline_string": f"body {number}"}
            status = self.pick((200, 204, 404, 503))
            entry["direct_response"] = {"status": status, "body": body}
            if status == 204 or self.some(0.3):
                del entry["direct_response"]["body"]
        if self.some(0.2):
            entry |= self.cors()
        return entry

    # Wholes

    def host(self, number: int, routes: int) -> Json:
        name = f"h{number}"
        domains = [f"{name}.test", f"*.{name}.test", f"{name}.pre.*", f"{name}.test:99"]
        entries = [self.route(i) for i in range(routes)]
        made = {"name": name, "domains": domains, "routes": entries, **self.edits(0.3)}
        return made | (self.cors() if self.some(0.3) else {})

    def configuration(self, name: str, hosts: int, routes: int) -> Json:
        return {
            "name": name,
            "virtual_hosts": [self.host(i, routes) for i in range(hosts)],
            "most_specific_header_mutations_wins": self.some(0.5),
            "ignore_port_in_host_matching": self.some(0.3),
            **self.edits(0.6),
        }

    def request(self, host: int) -> bytes:
        """A request for one of a virtual host's domains, without a body."""
        name = f"h{host}"
        hosts = (f"{name}.test",) * 6 + (
            f"x.{name}.test",
            f"{name}.pre.fix",
            f"{name}.test:99",
            f"{name}.test:80",
            f"x.{name}.test:80",
        )
        path = self.path() + self.pick(("", "", "", "/", "//", "%20"))
        query = self.pick(("", "", "", "?q=1", "?q=foo&q=2", "?r", "?%71=1&Q=12", "?", "?a?b"))
        method = self.pick(("GET", "GET", "GET", "POST", "OPTIONS", "HEAD"))
        lines = [f"{method} {path}{query} HTTP/1.1", f"Host: {self.pick(hosts)}"]
        # A repeated User-Agent is one header to Envoy, and two to us.
        for name in sorted(self.pick(NAMES) for _ in range(self.rng.randint(0, 4))):
            if name != "user-agent" or not any(line.startswith("User") for line in lines):
                lines.append(f"{name.title()}: {self.pick(VALUES)}")
        lines += [f"x-answer: {value}" for value in ANSWERS if self.some(0.2)]
        if self.some(0.3):
            lines.append(f"Origin: {self.pick(ORIGINS)}")
            if self.some(0.6):
                lines.append("Access-Control-Request-Method: PUT")
            if self.some(0.3):
                lines.append("Access-Control-Request-Private-Network: true")
        if self.some(0.1):
            kind = self.pick(("application/grpc", "application/grpc+x", "application/grpcx"))
            lines.append(f"Content-Type: {kind}")
        if method == "POST":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode()
