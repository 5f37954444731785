"""Rules of AuthorizationPolicies as policies of Envoy's RBAC, as istiod makes them.

A rule's operations become permissions, its sources principals; what ``when`` says goes
with each of them. Where there are bytes instead of requests, what only requests have is
left out: an ALLOW rule goes with it, so that nobody is let in who wasn't meant; a DENY
rule loses it, so that it denies more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from deploy.standalone.control.istioapi import Attributes, Condition, PolicyRule, positive
from deploy.standalone.control.translate import principals as p

TEMPLATE = "uri-template"
ENVOY_FILTERS = "experimental.envoy.filters."
#: What only requests have: fields of sources and operations, and attributes of when.
HTTP_FIELDS = {"hosts", "methods", "paths", "requestPrincipals"}
HTTP_KEYS = ("request.", "experimental.")

Part = Callable[[tuple[str, ...]], Any]


def is_template(path: str) -> bool:
    """Whether a path is a template: ``{*}`` for a segment, ``{**}`` for the rest."""
    return "{*}" in path or "{**}" in path


def cidr(value: str) -> Any:
    """An address, or a range of them."""
    network = ipaddress.ip_network(value, strict=False)
    made = CidrRange(address_prefix=str(network.network_address))
    made.prefix_len.value = network.prefixlen
    return made


def path(value: str) -> Any:
    """A path, or a template of one."""
    made = Permission()
    if is_template(value):
        plain = value.replace("{**}", "**").replace("{*}", "*")
        made.uri_template.name = TEMPLATE
        made.uri_template.typed_config.Pack(
            UriTemplateMatchConfig(path_template=plain), deterministic=True
        )
    else:
        made.url_path.path.CopyFrom(p.text_match(value))
    return made


def either(make: Callable[[str], Any], kind: Any, values: tuple[str, ...]) -> Any:
    """One of the values. kind: Permission or Principal."""
    made = kind()
    rules = made.or_rules.rules if kind is Permission else made.or_ids.ids
    rules.extend(make(value) for value in values)
    return made


def permission(make: Callable[[str], Any]) -> Part:
    """A field whose values are permissions of their own."""
    return partial(either, make, Permission)


def client(make: Callable[[str], Any]) -> Part:
    """A field whose values are principals of their own."""
    return partial(either, make, Principal)


#: By the field of an operation, or the attribute of a condition.
PERMISSIONS: Mapping[str, Part] = {
    "hosts": permission(
        lambda v: Permission(header=p.header_match(":authority", v, ignore_case=True))
    ),
    "methods": permission(lambda v: Permission(header=p.header_match(":method", v))),
    "paths": permission(path),
    "ports": permission(lambda v: Permission(destination_port=int(v))),
    "destination.ip": permission(lambda v: Permission(destination_ip=cidr(v))),
    "destination.port": permission(lambda v: Permission(destination_port=int(v))),
    "connection.sni": permission(lambda v: Permission(requested_server_name=p.text_match(v))),
}
#: By the field of a source, or the attribute of a condition; those of accounts apart.
PRINCIPALS: Mapping[str, Part] = {
    "principals": client(p.principal),
    "requestPrincipals": client(p.request_principal),
    "namespaces": client(p.namespace),
    "trustDomains": client(p.trust_domain),
    "ipBlocks": client(lambda v: Principal(direct_remote_ip=cidr(v))),
    "remoteIpBlocks": client(lambda v: Principal(remote_ip=cidr(v))),
    "source.ip": client(lambda v: Principal(direct_remote_ip=cidr(v))),
    "remote.ip": client(lambda v: Principal(remote_ip=cidr(v))),
    "source.namespace": client(p.namespace),
    "source.trustDomain": client(p.trust_domain),
    "source.principal": client(p.principal),
    "request.auth.principal": client(p.request_principal),
    "request.auth.audiences": partial(p.claims, ("aud",)),
    "request.auth.presenter": partial(p.claims, ("azp",)),
}
ACCOUNTS = {"serviceAccounts", "source.serviceAccount"}


def policy_of(
    rule: PolicyRule, namespace: str, *, streams: bool = False, widens: bool = False
) -> Any | None:
    """A rule of a policy of a namespace as Envoy's Policy; None: nobody is let in by it.

    streams: for bytes; widens: what bytes don't have makes it match more, not never.
    """
    rest = http_parts(rule) if streams else []
    if rest and not widens:
        return None
    asked, who = conditions(rule, namespace, streams=streams)
    made = Policy()
    for operation in rule.operations or ({},):
        parts = [*fields(operation, PERMISSIONS, Permission, streams=streams), *asked]
        made.permissions.add().and_rules.rules.extend(parts or [Permission(any=True)])
    sources = {**PRINCIPALS, **{name: accounts(namespace) for name in ACCOUNTS}}
    for source in rule.sources or ({},):
        parts = [*fields(source, sources, Principal, streams=streams), *who]
        made.principals.add().and_ids.ids.extend(parts or [Principal(any=True)])
    return made


def never() -> Any:
    """What a policy without rules comes to: it matches nothing."""
    made = Policy()
    made.permissions.add().not_rule.any = True
    made.principals.add().not_id.any = True
    return made


def http_parts(rule: PolicyRule) -> list[str]:
    """What of a rule only requests have, in Istio's words, each once."""
    found = [
        name
        for attributes in (*rule.sources, *rule.operations)
        for name in attributes
        if positive(name) in HTTP_FIELDS
    ]
    found += [each.key for each in rule.conditions if each.key.startswith(HTTP_KEYS)]
    return list(dict.fromkeys(found))


def accounts(namespace: str) -> Part:
    """Service accounts, of a namespace where they name none."""
    return client(lambda value: p.service_account(value, namespace))


def fields(
    attributes: Attributes, known: Mapping[str, Part], kind: Any, *, streams: bool
) -> list[Any]:
    """The parts of a source or an operation, all of which must hold."""
    found = []
    for field, values in attributes.items():
        name = positive(field)
        if streams and name in HTTP_FIELDS:
            continue
        part = known[name](values)
        found.append(part if name == field else negated(part, kind))
    return found


def conditions(
    rule: PolicyRule, namespace: str, *, streams: bool
) -> tuple[list[Any], list[Any]]:
    """What ``when`` says, as permissions and as principals."""
    asked: list[Any] = []
    who: list[Any] = []
    for each in rule.conditions:
        if streams and each.key.startswith(HTTP_KEYS):
            continue
        make, kind = part_of(each, namespace)
        into = asked if kind is Permission else who
        if each.values:
            into.append(make(each.values))
        if each.not_values:
            into.append(negated(make(each.not_values), kind))
    return asked, who


def part_of(condition: Condition, namespace: str) -> tuple[Part, Any]:
    """How a condition's values are read, and whether they are permissions or principals."""
    key = condition.key
    if key in PERMISSIONS:
        return PERMISSIONS[key], Permission
    if key in ACCOUNTS:
        return accounts(namespace), Principal
    if key in PRINCIPALS:
        return PRINCIPALS[key], Principal
    if key.startswith(ENVOY_FILTERS):
        return partial(noted, key), Permission
    names = p.bracketed(key)
    if key.startswith("request.headers["):
        return client(lambda v: Principal(header=p.header_match(names[0], v))), Principal
    return partial(p.claims, names), Principal


def noted(key: str, values: tuple[str, ...]) -> Any:
    """What a filter noted: ``experimental.envoy.filters.<name>[<key>]``; ``[v]``: in a list."""
    name, _, inner = key.removeprefix("experimental.").removesuffix("]").partition("[")
    matches = []
    for value in values:
        text = ValueMatcher(string_match=p.text_match(value.strip("[]")))
        match = ValueMatcher()
        if value.startswith("[") and value.endswith("]"):
            match.list_match.one_of.CopyFrom(text)
        else:
            match = text
        matches.append(match)
    wanted = ValueMatcher()
    wanted.or_match.value_matchers.extend(matches)
    made = MetadataMatcher(filter=name, value=wanted)
    made.path.add(key=inner)
    return Permission(metadata=made)


def negated(part: Any, kind: Any) -> Any:
    """The contrary of a part."""
    return Permission(not_rule=part) if kind is Permission else Principal(not_id=part)
