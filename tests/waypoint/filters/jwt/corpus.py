"""Generated configurations and requests with tokens, to compare decisions by."""

from __future__ import annotations

import random
import time
from typing import Any

from tests.waypoint.filters.jwt.tokens import (
    ALGORITHMS,
    AUDIENCE,
    ISSUER,
    OTHER,
    claims,
    encode,
    jwk,
    jwks,
    key,
    name_of,
    sign,
)

OURS = jwks(
    jwk("rsa", kid="r1"),
    *(jwk(alg, kid=alg, alg=alg) for alg in ("ES256", "ES384", "ES512", "EdDSA")),
    jwk("rsa-more"),
)
THEIRS = jwks(jwk("rsa-theirs", kid="t1", alg="RS256"))
ANY_PATH = {"prefix": "/"}


def provider(issuer: str = ISSUER, keys: str = OURS, **more: Any) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "local_jwks": {"inline_string": keys},
        "payload_in_metadata": "payload",
        **more,
    }


def by(name: str) -> dict[str, Any]:
    return {"provider_name": name}


def any_of(*requirements: dict[str, Any]) -> dict[str, Any]:
    return {"requires_any": {"requirements": requirements}}


def all_of(*requirements: dict[str, Any]) -> dict[str, Any]:
    return {"requires_all": {"requirements": requirements}}


def configuration(
    requires: dict[str, Any], providers: dict[str, Any], **more: Any
) -> dict[str, Any]:
    rules = [{"match": ANY_PATH, "requires": requires}]
    return {"providers": providers, "rules": rules, **more}


MISSING: dict[str, Any] = {"allow_missing": {}}
TWO = {"p0": provider(), "p1": provider(OTHER, THEIRS)}
#: By name; the first two are what Istio sends for one and for two rules.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "optional": configuration(
        any_of(by("p0"), MISSING),
        {"p0": provider(normalize_payload_in_metadata={"space_delimited_claims": ["scope"]})},
        bypass_cors_preflight=True,
    ),
    "two": configuration(
        any_of(
            by("p0"), by("p1"), all_of(any_of(by("p0"), MISSING), any_of(by("p1"), MISSING))
        ),
        TWO,
    ),
    "audience": configuration(by("p0"), {"p0": provider(audiences=["shop.example"])}),
    "audiences of a rule": configuration(
        {"provider_and_audiences": {"provider_name": "p0", "audiences": ["a", "b"]}},
        {"p0": provider(audiences=["c"])},
    ),
    "both": configuration(
        all_of(by("p0"), by("p1")),
        {
            "p0": provider(from_headers=[{"name": "X-A"}]),
            "p1": provider(OTHER, THEIRS, from_headers=[{"name": "X-B", "value_prefix": "T "}]),
        },
    ),
    "failed": configuration(
        {"allow_missing_or_failed": {}},
        {"p0": provider(failed_status_in_metadata="why", header_in_metadata="head")},
    ),
    "failed, any": configuration(
        any_of(by("p0"), {"allow_missing_or_failed": {}}),
        {"p0": provider(failed_status_in_metadata="why")},
    ),
    "missing": configuration(MISSING, TWO),
    "headers": configuration(
        by("p0"),
        {
            "p0": provider(
                "",
                forward=True,
                forward_payload_header="x-payload",
                pad_forward_payload_header=True,
                claim_to_headers=[
                    {"header_name": "x-sub", "claim_name": "sub"},
                    {"header_name": "x-n", "claim_name": "n"},
                    {"header_name": "x-deep", "claim_name": "deep.er"},
                    {"header_name": "x-all", "claim_name": "deep"},
                    {"header_name": "x-list", "claim_name": "groups"},
                ],
                from_headers=[
                    {"name": "authorization", "value_prefix": "Bearer "},
                    {"name": "x-a"},
                ],
                from_params=["tok"],
                from_cookies=["jar", "lid"],
            )
        },
    ),
    "strict": configuration(
        any_of(by("p0"), by("p1")),
        {
            "p0": provider(max_lifetime="1000s", clock_skew_seconds=5),
            "p1": provider(OTHER, THEIRS, require_expiration=True, subjects={"prefix": "a"}),
        },
        strip_failure_response=True,
    ),
}


class Corpus:
    """Requests, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def often(self, good: Any, *bad: Any) -> Any:
        """Mostly the good one."""
        return good if self.random.random() < 0.75 else self.random.choice(bad)

    def payload(self) -> dict[str, Any]:
        now = int(time.time())
        pick = self.random.choice
        return claims(
            iss=self.often(pick([ISSUER, OTHER]), None, "nobody", 5),
            sub=self.often(pick(["anna", "bob"]), None, "", 7, "grüße"),
            aud=self.often(
                pick([AUDIENCE, "a", ["x", "b"], ["http://shop.example"]]),
                None, [], "z", [1], 4,
            ),
            exp=self.often(now + 600, None, now - 600, now - 30, now + 5000, "soon", -1, 1e30,
                           now + 900.5, True),
            nbf=self.often(None, now - 10, now + 600, now + 30, "x", -5),
            iat=self.often(now, None, "x", -1),
            jti=self.often(None, "id", 4),
            n=pick([None, 1, -2, 2.5, 12345678901234, True, False]),
            deep=pick([None, {"er": "x"}, {"er": 5}, {"er": {"est": 1}}, [1], "flat"]),
            groups=pick([None, ["a", "b"], []]),
            scope=pick([None, "read write", "read", "", 5]),
        )  # fmt: skip

    def token(self) -> str:
        pick = self.random.choice
        alg = pick(ALGORITHMS)
        own = name_of(alg)
        signer = self.often(own, "rsa-more", "rsa-theirs", "rsa-stranger", "ES256")
        if signer.startswith("rsa"):
            alg = alg if alg[:2] in {"RS", "PS"} else "RS256"
        elif signer == "ES256":
            alg = "ES256"
        named = {"rsa": "r1", "rsa-theirs": "t1"}.get(signer, own)
        header: dict[str, Any] = {"alg": alg, "kid": self.often(named, None, "", "wrong", 5)}
        if header["kid"] is None:
            del header["kid"]
        if self.random.random() < 0.1:
            header["alg"] = pick(["none", "HS256", "RS1", 5, "EdDSA", "ES384"])
        parts = [encode(header), encode(self.payload())]
        if self.random.random() < 0.1:
            at = pick([0, 1])
            parts[at] = pick(
                ["!", "e30=", encode(b"[]"), encode(b'{"alg": "RS256"'), "YQ", "Y"]
            )
        signature = encode(sign(key(signer), alg, ".".join(parts).encode()))
        if self.random.random() < 0.08:
            signature = pick([signature[:-8], "AAAA", "", "%", signature + "=="])
        whole = ".".join([*parts, signature])
        if self.random.random() < 0.05:
            whole = pick(["", "x", "a.b", f"a.b.c.{whole}", whole[:50]])
        return whole

    def request(self) -> bytes:
        pick = self.random.choice
        lines, query = [], []
        for _ in range(pick([0, 1, 1, 1, 1, 1, 2])):
            made = self.token()
            match pick("hhhhhabpcPB"):
                case "h":
                    lines.append(f"Authorization: Bearer {made}")
                case "a":
                    lines.append(f"X-A: {made}")
                case "b":
                    lines.append(f"X-B: T {made}")
                case "p":
                    query.append(f"access_token={made}")
                case "P":
                    query.append(f"tok={made}")
                case "c":
                    lines.append(f"Cookie: a=b; jar={made}; c")
                case "B":
                    odd = [
                        f"Authorization: {made}",
                        f"Authorization: bearer {made}",
                        f"Authorization: Bearer  {made}",
                        "Authorization: Bearer",
                        f"Authorization: x Bearer {made}",
                        f"Cookie: lid={made}; jar={made}",
                    ]
                    lines.append(pick(odd))
        if self.random.random() < 0.3:
            lines.append(pick(["X-Sub: forged", "X-Payload: forged", "Origin: http://o"]))
        if self.random.random() < 0.1:
            lines.append("Content-Type: application/grpc")
        path = "/p" + (f"?{'&'.join(query)}" if query else "")
        method = pick(["GET"] * 9 + ["OPTIONS"])
        if method == "OPTIONS":
            lines += ["Origin: http://o", "Access-Control-Request-Method: GET"]
        block = "".join(f"{line}\r\n" for line in lines)
        return f"{method} {path} HTTP/1.1\r\nHost: shop\r\n{block}\r\n".encode()
