"""Authorization policies, from their bytes to values.

Nothing of a policy is skipped: what ztunnel leaves out (a string match without a
condition, an address that is none, an extension) could turn a narrow ALLOW into a
wide one, or a DENY into none. Such a policy is returned as an UnusablePolicy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from proto import authorization_pb2
from ztunnel_compat.errors import ResourceError
from ztunnel_compat.fields import V4_MAPPED, member, packed, port_number
from ztunnel_compat.policy import (
    Action,
    Match,
    Policy,
    PolicyScope,
    Range,
    Rule,
    ServiceAccountMatch,
    StringMatch,
    StringRule,
    UnusablePolicy,
)

STRING_RULES = {rule.name.lower(): rule for rule in StringRule}


def decode_policy(name: str, value: bytes) -> Policy | UnusablePolicy:
    """Decode an istio.security.Authorization that was served under this xDS name."""
    message = authorization_pb2.Authorization()
    scope: PolicyScope | None = None
    try:
        try:
            message.ParseFromString(value)
        except DecodeError as error:
            raise ResourceError(f"no istio.security.Authorization: {error}") from error
        if f"{message.namespace}/{message.name}" != name:
            raise ResourceError(f"policy {message.namespace}/{message.name} under another name")
        scope = member(PolicyScope, "scope", message.scope)
        return usable(message, scope)
    except ResourceError as error:
        return UnusablePolicy(name, scope, str(error))


def usable(message: authorization_pb2.Authorization, scope: PolicyScope) -> Policy:
    """Decode a policy; raises ResourceError on anything that isn't understood."""
    refuse_extensions("extensions", message.extensions)
    known = authorization_pb2.Authorization()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    if known.ByteSize() != message.ByteSize():
        raise ResourceError("it has fields that this version doesn't know")
    return Policy(
        name=message.name,
        namespace=message.namespace,
        scope=scope,
        action=member(Action, "action", message.action),
        rules=tuple(
            decode_rule(f"rules[{number}]", rule) for number, rule in enumerate(message.rules)
        ),
        dry_run=message.dry_run,
    )


def decode_rule(field: str, rule: authorization_pb2.Rule) -> Rule:
    """Decode a rule's clauses."""
    return tuple(
        tuple(
            decode_match(f"{field}.clauses[{number}].matches[{index}]", match)
            for index, match in enumerate(clause.matches)
        )
        for number, clause in enumerate(rule.clauses)
    )


def decode_match(field: str, match: authorization_pb2.Match) -> Match:
    """Decode a match."""
    refuse_extensions(f"{field}.extensions", match.extensions)

    def strings(name: str) -> tuple[StringMatch, ...]:
        return tuple(string_match(f"{field}.{name}", m) for m in getattr(match, name))

    def ranges(name: str) -> tuple[Range, ...]:
        return tuple(address_range(f"{field}.{name}", m) for m in getattr(match, name))

    def ports(name: str) -> tuple[int, ...]:
        return tuple(port_number(f"{field}.{name}", m) for m in getattr(match, name))

    def accounts(name: str) -> tuple[ServiceAccountMatch, ...]:
        return tuple(
            ServiceAccountMatch(m.namespace, m.serviceAccount) for m in getattr(match, name)
        )

    return Match(
        namespaces=strings("namespaces"),
        not_namespaces=strings("not_namespaces"),
        principals=strings("principals"),
        not_principals=strings("not_principals"),
        service_accounts=accounts("service_accounts"),
        not_service_accounts=accounts("not_service_accounts"),
        source_ips=ranges("source_ips"),
        not_source_ips=ranges("not_source_ips"),
        destination_ips=ranges("destination_ips"),
        not_destination_ips=ranges("not_destination_ips"),
        destination_ports=ports("destination_ports"),
        not_destination_ports=ports("not_destination_ports"),
    )


def string_match(field: str, match: authorization_pb2.StringMatch) -> StringMatch:
    """Decode a condition on a text."""
    kind = match.WhichOneof("match_type")
    if kind is None:
        raise ResourceError(f"{field}: no condition")
    rule = STRING_RULES[kind]
    return StringMatch(rule, "" if rule is StringRule.PRESENCE else getattr(match, kind))


def address_range(field: str, message: authorization_pb2.Address) -> Range:
    """Decode a CIDR; an IPv4-mapped one is IPv4."""
    address = packed(field, message.address)
    length = message.length
    if len(address) != len(message.address):
        length -= 8 * len(V4_MAPPED)
    if not 0 <= length <= 8 * len(address):
        raise ResourceError(f"{field}.length: {message.length} is no prefix of the address")
    whole = ipaddress.ip_network((address, length), strict=False)
    return Range(whole.network_address.packed, length)


def refuse_extensions(field: str, messages: Iterable[authorization_pb2.Extension]) -> None:
    """No extension is known: each may narrow what the rest allows."""
    for message in messages:
        raise ResourceError(f"{field}: {message.name!r} is unknown")
