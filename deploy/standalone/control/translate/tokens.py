"""RequestAuthentications as Envoy's JWT authentication filter, as istiod makes it.

A token that is there must be good; that there is one is for an AuthorizationPolicy to
ask. Several objects for one service count together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as pb
from google.protobuf.empty_pb2 import Empty

from deploy.standalone.control.tokenapi import JwtRule
from deploy.standalone.control.translate.attached import cluster_name
from deploy.standalone.control.translate.frontends import HTTP, Frontends
from deploy.standalone.control.translate.matching import PAYLOAD, TOKENS
from deploy.standalone.control.translate.sight import PODS, Found, Sight, http_filter
from deploy.standalone.control.translate.targets import find_targeted
from deploy.standalone.control.world import Name

#: Claims that are lists, whatever else is said.
SPACE_DELIMITED = ("permission", "scope")
#: Seconds between fetches of keys.
CACHE = 300
#: Where an issuer says where its keys are.
DISCOVERY = "/.well-known/openid-configuration"
DOMAIN = "svc.cluster.local"


def find_tokens(sight: Sight) -> Found:
    """The filter of each HTTP port of the services that tokens are asked of."""
    rules: dict[Name, list[tuple[JwtRule, str]]] = defaultdict(list)
    for each in sight.world.request_authentications:
        own = [(rule, each.namespace) for rule in each.rules]
        targeted = find_targeted(each.targets, each.namespace, sight)
        named = {(target.kind, target.name) for target in each.targets}
        for frontend in targeted.frontends:
            rules[frontend.key] += own
            # A Gateway may well serve others beside those that speak HTTP.
            meant_itself = (frontend.kind, frontend.name) in named
            if meant_itself and not frontend.speaking(HTTP):
                sight.problems.append(
                    each.origin.error(
                        "spec.targetRefs",
                        f"{frontend} has no port that speaks HTTP: name one http",
                    )
                )
        for key in targeted.gateways.values():
            rules[key] += own
    found: Found = {}
    for key, own in rules.items():
        if own:
            made = [http_filter(TOKENS, authentication(own, sight.frontends))]
            known = sight.frontends.by_key.get(key)
            ports = [PODS] if known is None else known.speaking(HTTP)
            found[key] = dict.fromkeys(ports, made)
    return found


def authentication(rules: Iterable[tuple[JwtRule, str]], frontends: Frontends) -> Any:
    """The filter for some rules, each with its object's namespace."""
    message = pb.JwtAuthentication(bypass_cors_preflight=True)
    names: list[str] = []
    for rule, namespace in sorted(rules, key=lambda each: each[0].issuer):
        name = f"origins-{len(names)}"
        message.providers[name].CopyFrom(provider(rule, namespace, frontends))
        names.append(name)
    one = message.rules.add()
    one.match.prefix = "/"
    one.requires.CopyFrom(requirement(names))
    return message


def requirement(names: list[str]) -> Any:
    """Any one's good token; or of each one's places, that what is there is good."""
    missing = pb.JwtRequirement(allow_missing=Empty())
    optional = [any_of([pb.JwtRequirement(provider_name=name), missing]) for name in names]
    if len(optional) == 1:
        return optional[0]
    everywhere = pb.JwtRequirement(requires_all=pb.JwtRequirementAndList(requirements=optional))
    return any_of([*(pb.JwtRequirement(provider_name=name) for name in names), everywhere])


def any_of(requirements: list[Any]) -> Any:
    """One of these."""
    return pb.JwtRequirement(requires_any=pb.JwtRequirementOrList(requirements=requirements))


def provider(rule: JwtRule, namespace: str, frontends: Frontends) -> Any:
    """A rule as a JwtProvider."""
    message = pb.JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        forward=rule.forward,
        from_params=rule.params,
        from_cookies=rule.cookies,
        forward_payload_header=rule.payload_header,
        payload_in_metadata=PAYLOAD,
        clear_route_cache=True,
    )
    for name, prefix in rule.headers:
        message.from_headers.add(name=name, value_prefix=prefix)
    for header, claim in rule.claim_headers:
        message.claim_to_headers.add(header_name=header, claim_name=claim)
    lists = sorted({*SPACE_DELIMITED, *rule.space_delimited})
    message.normalize_payload_in_metadata.space_delimited_claims.extend(lists)
    if rule.jwks:
        message.local_jwks.inline_string = rule.jwks
        return message
    uri = rule.jwks_uri or rule.issuer.removesuffix("/") + DISCOVERY
    remote = message.remote_jwks
    remote.http_uri.uri = uri
    remote.http_uri.cluster = cluster_of(uri, namespace, frontends)
    remote.http_uri.timeout.FromNanoseconds(round(rule.timeout * 1e9))
    remote.cache_duration.seconds = CACHE
    return message


def cluster_of(uri: str, namespace: str, frontends: Frontends) -> str:
    """Who is asked, where that is a service of the mesh; empty: nobody in it.

    What speaks TLS is asked straight, so that its certificate is checked.
    """
    parts = urlsplit(uri)
    if parts.scheme != "http" or not parts.hostname:
        return ""
    host, port = parts.hostname, parts.port or 80
    for name in (host, f"{host}.{DOMAIN}", f"{host}.{namespace}.{DOMAIN}"):
        frontend = frontends.find(name, namespace)
        if frontend is not None and frontend.port(port) is not None:
            return cluster_name(port, name)
    return ""
