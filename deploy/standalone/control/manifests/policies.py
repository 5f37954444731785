"""AuthorizationPolicies.

What can't be understood is an error: a policy that is followed in part would let
in whom its author didn't mean, or shut out whom it did.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

from deploy.standalone.control.istioapi import (
    Action,
    Attributes,
    AuthorizationPolicy,
    Condition,
    PolicyRule,
)
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.targetrefs import read_selector_or_targets

GROUP = "security.istio.io"
VERSIONS = (f"{GROUP}/v1", f"{GROUP}/v1beta1")
DRY_RUN = "istio.io/dry-run"

SOURCES = (
    "principals", "requestPrincipals", "namespaces", "serviceAccounts", "ipBlocks",
    "remoteIpBlocks", "trustDomains",
)  # fmt: skip
OPERATIONS = ("hosts", "ports", "methods", "paths")
#: Attributes of ``when``; those in brackets name a part: request.headers[x].
KEYS = (
    "source.ip", "source.namespace", "source.principal", "source.serviceAccount",
    "source.trustDomain", "remote.ip", "destination.ip", "destination.port", "connection.sni",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
)  # fmt: skip
PARTS = ("request.headers[", "request.auth.claims[", "experimental.envoy.filters.")
#: A segment of a path template.
SEGMENT = re.compile(r"\{\*\*?\}|[A-Za-z0-9\-._~%!$&'()+,;:@=]+")

Check = Callable[[str], str]


def read_policy(document: Fields, _folder: Path | None) -> AuthorizationPolicy:
    """Read an AuthorizationPolicy."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    action = Action(spec.choice("action", list(Action), Action.ALLOW))
    selector, labels, targets = read_selector_or_targets(spec, metadata.namespace)
    for key, value in labels.items():
        if "*" in key or "*" in value:
            selector.wrong("matchLabels", f"{key}: {value} has a *: labels are compared whole")
    provider = spec.child("provider")
    named = provider.text("name")
    if (action is Action.CUSTOM) != bool(named):
        spec.wrong("provider", "goes with action CUSTOM, and only with it: name one there")
    rules = tuple(read_rule(inner) for inner in spec.children("rules"))
    policy = AuthorizationPolicy(
        namespace=metadata.namespace,
        name=metadata.name,
        action=action,
        selector=labels,
        targets=targets,
        rules=rules,
        origin=document.origin,
        dry_run=metadata.annotations.boolean(DRY_RUN),
        provider=named,
    )
    for part in (selector, provider, spec):
        part.end()
    return policy


def read_rule(fields: Fields) -> PolicyRule:
    """Read one of ``rules``."""
    sources = []
    for inner in fields.children("from"):
        source = inner.child("source")
        sources.append(read_attributes(source, SOURCES))
        check_accounts(source, sources[-1])
        inner.end()
    operations = []
    for inner in fields.children("to"):
        operations.append(read_attributes(inner.child("operation"), OPERATIONS))
        inner.end()
    rule = PolicyRule(
        tuple(sources),
        tuple(operations),
        tuple(read_condition(inner) for inner in fields.children("when")),
    )
    fields.end()
    return rule


def read_attributes(fields: Fields, names: tuple[str, ...]) -> Attributes:
    """Read a source or an operation; one without fields matches nothing: an error."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        for field in (name, f"not{name[0].upper()}{name[1:]}"):
            values = read_values(fields, field, CHECKS.get(name))
            if values:
                found[field] = values
    fields.end()
    if not found and not fields.report.failed:
        fields.wrong("", f"needs one of {', '.join(names)}, or of their not… forms")
    return found


def check_accounts(source: Fields, found: Attributes) -> None:
    """Istio's rule: a service account says namespace and principal already."""
    for field in ("serviceAccounts", "notServiceAccounts"):
        others = {"principals", "notPrincipals", "namespaces", "notNamespaces"} & found.keys()
        if field in found and others:
            source.wrong(field, f"can't stand beside {', '.join(sorted(others))}")


def read_condition(fields: Fields) -> Condition:
    """Read one of ``when``."""
    key = fields.required("key")
    part = key.startswith(PARTS) and key.endswith("]")
    if key and key not in KEYS and not part:
        known = ", ".join((*KEYS, *(f"{prefix}…]" for prefix in PARTS[:2])))
        fields.wrong("key", f"{key!r} is none of {known}")
    check = CHECKS.get(key)
    condition = Condition(
        key, read_values(fields, "values", check), read_values(fields, "notValues", check)
    )
    if not condition.values and not condition.not_values and not fields.report.failed:
        fields.wrong("", "needs values or notValues")
    fields.end()
    return condition


def read_values(fields: Fields, field: str, check: Check | None) -> tuple[str, ...]:
    """A list of texts; those that can't be what the field is for are reported."""
    before = len(fields.report.problems)
    values = fields.texts(field)
    if len(fields.report.problems) > before:
        return values
    for index, value in enumerate(values):
        wrong = "must not be empty" if not value else check(value) if check else ""
        if wrong:
            fields.wrong(field, f"[{index}]: {wrong}")
    return values


def check_range(value: str) -> str:
    """What is wrong with an address or a range; empty when nothing is."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return f"{value!r} is neither an IP address nor a range such as 10.0.0.0/8"
    return ""


def check_port(value: str) -> str:
    """What is wrong with a port; empty when nothing is."""
    if value.isdecimal() and 1 <= int(value) <= 65535:
        return ""
    return f"{value!r} is no port from 1 to 65535"


def check_account(value: str) -> str:
    """What is wrong with a service account's name; empty when nothing is."""
    if "*" in value or value.count("/") > 1 or not all(value.split("/")):
        return f"{value!r} is no service account: write its name, or namespace/name"
    return ""


def check_path(value: str) -> str:
    """What is wrong with a path's template; empty when nothing is, or it is none."""
    if "{" not in value and "}" not in value:
        return ""
    segments = value.split("/")
    wild = [segment for segment in segments if segment in {"{*}", "{**}"}]
    if segments[0] or not all(map(SEGMENT.fullmatch, segments[1:])):
        return f"{value!r} is no template: {{*}} and {{**}} stand for whole segments"
    if "{**}" in wild[:-1]:
        return f"{value!r} is no template: nothing else in braces may follow {{**}}"
    return ""


#: By the field of a source or operation, or by the attribute of a condition.
CHECKS: dict[str, Check] = {
    "ipBlocks": check_range,
    "remoteIpBlocks": check_range,
    "ports": check_port,
    "paths": check_path,
    "serviceAccounts": check_account,
    "source.ip": check_range,
    "remote.ip": check_range,
    "destination.ip": check_range,
    "destination.port": check_port,
    "source.serviceAccount": check_account,
}
