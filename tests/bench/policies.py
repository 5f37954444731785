"""The policies of the waypoint's benchmark, for the mesh and for Envoy.

On services ``guarded`` and ``guarded2``, and on Envoy's ports 82 and 83: a token that
must be good, three authorization policies, and a local rate limit that is never reached.
"""

from __future__ import annotations

import json
import textwrap
import time
from dataclasses import dataclass, field
from functools import cache

import jwt
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "https://issuer.example"
SECURITY = "security.istio.io/v1"
METHODS = ["GET", "POST"]
#: Tokens of a bucket, filled again once a second: more than any run asks for.
ENOUGH = 10_000_000


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who makes tokens. jwks: its keys."""

    jwks: str
    key: rsa.RSAPrivateKey = field(repr=False)

    def token(self) -> str:
        """A good token, for an hour."""
        claims = {"iss": ISSUER, "sub": "bench", "exp": int(time.time()) + 3600}
        return jwt.encode(claims, self.key, "RS256", {"kid": "one"})


@cache
def make_issuer() -> Issuer:
    """The run's issuer, with a key of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = {"keys": [{**public, "kid": "one", "alg": "RS256", "use": "sig"}]}
    return Issuer(json.dumps(keys), key)


def caller_policy(name: str, namespace: str, caller: str) -> str:
    """Only this identity may ask a service."""
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}-caller, namespace: {namespace}}}
spec:
  targetRefs:
  - {{group: "", kind: Service, name: {name}}}
  rules:
  - from:
    - source: {{principals: ["{caller}"]}}
"""


def mesh_policies(name: str, namespace: str, caller: str, issuer: Issuer) -> list[str]:
    """All of them, for one service."""
    target = {"group": "", "kind": "Service", "name": name}

    def made(api: str, kind: str, title: str, **spec: object) -> str:
        metadata = {"name": title, "namespace": namespace}
        whole = {"targetRefs": [target], **spec}
        return yaml.safe_dump(
            {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": whole}
        )

    def policy(title: str, action: str, **rule: object) -> str:
        return made(
            SECURITY, "AuthorizationPolicy", f"{name}-{title}", action=action, rules=[rule]
        )

    source = {"principals": [caller], "requestPrincipals": [f"{ISSUER}/*"]}
    blocked = {"key": "request.headers[x-blocked]", "values": ["yes"]}
    tokens = {"issuer": ISSUER, "jwks": issuer.jwks, "forwardOriginalToken": True}
    limit = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "WAYPOINT"},
        "patch": {"operation": "ADD", "value": yaml.safe_load(LIMIT)},
    }
    return [
        made(SECURITY, "RequestAuthentication", name, jwtRules=[tokens]),
        policy(
            "caller",
            "ALLOW",
            **{"from": [{"source": source}], "to": [{"operation": {"methods": METHODS}}]},
        ),
        policy("admin", "DENY", to=[{"operation": {"paths": ["/admin/*"]}}]),
        policy("blocked", "DENY", when=[blocked]),
        made("networking.istio.io/v1alpha3", "EnvoyFilter", name, configPatches=[limit]),
    ]


LIMIT = f"""\
name: envoy.filters.http.local_ratelimit
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
  stat_prefix: limit
  token_bucket: {{max_tokens: {ENOUGH}, tokens_per_fill: {ENOUGH}, fill_interval: 1s}}
  filter_enabled: {{default_value: {{numerator: 100}}}}
  filter_enforced: {{default_value: {{numerator: 100}}}}
"""

RBAC = """\
name: {name}
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
  rules:
    action: {action}
    policies:
"""


def rbac(name: str, action: str, policies: str) -> str:
    """Envoy's RBAC filter; policies: YAML."""
    return RBAC.format(name=name, action=action) + textwrap.indent(policies, " " * 6)


def envoy_caller(address: str) -> str:
    """The filter that lets one address in."""
    return rbac(
        "caller",
        "ALLOW",
        "caller:\n  permissions: [{any: true}]\n  principals:\n"
        f"  - direct_remote_ip: {{address_prefix: {address}, prefix_len: 32}}\n",
    )


def envoy_filters(address: str, issuer: Issuer) -> str:
    """The same as mesh_policies for Envoy, as a YAML list of filters."""
    authentication = (
        "name: jwt\ntyped_config:\n"
        '  "@type": type.googleapis.com/'
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication\n"
        "  providers:\n    issuer:\n"
        f"      issuer: {ISSUER}\n      forward: true\n      payload_in_metadata: payload\n"
        f"      local_jwks: {{inline_string: '{issuer.jwks}'}}\n"
        "      jwt_cache_config: {jwt_cache_size: 100}\n"
        "  rules:\n  - {match: {prefix: /}, requires: {provider_name: issuer}}\n"
    )
    denied = rbac(
        "deny",
        "DENY",
        "admin:\n  permissions: [{url_path: {path: {prefix: /admin/}}}]\n"
        "  principals: [{any: true}]\n"
        "blocked:\n  permissions: [{any: true}]\n  principals:\n"
        "  - header: {name: x-blocked, string_match: {exact: 'yes'}}\n",
    )
    allowed = rbac(
        "allow",
        "ALLOW",
        "caller:\n  permissions:\n  - or_rules:\n      rules:\n"
        "      - header: {name: ':method', string_match: {exact: GET}}\n"
        "      - header: {name: ':method', string_match: {exact: POST}}\n"
        "  principals:\n  - and_ids:\n      ids:\n"
        f"      - direct_remote_ip: {{address_prefix: {address}, prefix_len: 32}}\n"
        "      - metadata:\n          filter: envoy.filters.http.jwt_authn\n"
        "          path: [{key: payload}, {key: iss}]\n"
        f"          value: {{string_match: {{exact: '{ISSUER}'}}}}\n",
    )
    return listed(authentication, denied, allowed, LIMIT)


def listed(*filters: str) -> str:
    """Filters as items of a YAML list."""
    return "".join("- " + textwrap.indent(each, "  ")[2:] for each in filters)
