"""The HTTP rules of VirtualServices."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.hostnames import in_mesh, read_host
from deploy.standalone.control.manifests.virtualactions import (
    read_cors,
    read_edits,
    read_redirect,
    read_retries,
    read_rewrite,
)
from deploy.standalone.control.manifests.virtualfaults import read_fault
from deploy.standalone.control.manifests.virtualmatches import ANYTHING, read_match
from deploy.standalone.control.routing import (
    Answer,
    BackendRef,
    MatchKind,
    Mirror,
    PathEditKind,
    RouteRule,
)

WHOLE = 1_000_000
ACTIONS = ("route", "redirect", "directResponse")
#: Envoy's bound on a direct response, in bytes.
BODY = 4096


def read_http(fields: Fields, namespace: str) -> RouteRule | None:
    """Read one of ``http``; None when all of its matches are for ingress gateways."""
    fields.ignore("statPrefix")
    inner = fields.children("match")
    meant = [(in_mesh(each), read_match(each)) for each in inner]
    matches = tuple(match for mesh, match in meant if mesh)
    given = [action for action in ACTIONS if fields.has(action)]
    delegate = read_delegate(fields.child("delegate"), namespace)
    if delegate and given:
        fields.wrong(given[0], "can't stand beside delegate, whose routes are in its place")
    elif len(given) != 1 and not delegate:
        what = "missing" if not given else "too much"
        fields.wrong(
            given[-1] if given else "route", f"{what}: give one of {', '.join(ACTIONS)}"
        )
    edits, authority = read_edits(fields.child("headers"))
    rewritten, path = read_rewrite(fields.child("rewrite"))
    redirect = fields.child("redirect")
    answer = fields.child("directResponse")
    retry, try_timeout = read_retries(fields.child("retries"))
    rule = RouteRule(
        matches=matches if inner else (ANYTHING,),
        backends=read_backends(fields, namespace),
        action=read_redirect(redirect) or read_answer(answer),
        name=fields.text("name"),
        timeout=read_time(fields, "timeout", zero=True) or 0.0,
        try_timeout=try_timeout,
        retry=retry,
        edits=edits,
        authority=rewritten or authority,
        path=path,
        mirrors=read_mirrors(fields, namespace),
        cors=read_cors(fields.child("corsPolicy")),
        delegate=delegate,
        fault=read_fault(fields.child("fault")),
    )
    check_rule(fields, rule)
    fields.end()
    return rule if rule.matches else None


def read_delegate(fields: Fields, namespace: str) -> tuple[str, str] | None:
    """Read ``delegate``: a VirtualService, of this namespace where it says no other."""
    if fields.missing:
        return None
    found = (fields.text("namespace") or namespace, fields.required("name"))
    fields.end()
    return found


def check_rule(fields: Fields, rule: RouteRule) -> None:
    """Report what can't go together."""
    if rule.action:
        for name in ("rewrite", "mirror", "mirrors", "timeout", "retries"):
            if fields.has(name):
                fields.wrong(name, "goes with route only: here nothing is sent anywhere")
    path = rule.path
    if path and path.kind is PathEditKind.PREFIX and not path.value:
        fields.wrong("rewrite", "needs uri, uriRegexRewrite or authority")
    regex = any(match.path.kind is MatchKind.REGEX for match in rule.matches)
    if regex and path and path.kind is PathEditKind.PREFIX:
        fields.notice("rewrite", "uri replaces the whole path where a regex matched")


def read_backends(fields: Fields, namespace: str) -> tuple[BackendRef, ...]:
    """Read ``route``: a single destination gets everything."""
    shares = fields.children("route")
    found = []
    for inner in shares:
        weight = inner.integer("weight", 0, 0, (1 << 31) - 1)
        backend = read_destination(inner, "destination", namespace, weight)
        edits, authority = read_edits(inner.child("headers"))
        inner.end()
        found.append(replace(backend, edits=edits, authority=authority))
    return check_sum(fields, tuple(found))


def check_sum(fields: Fields, backends: tuple[BackendRef, ...]) -> tuple[BackendRef, ...]:
    """With everything for an only destination; report shares that are all zero."""
    if len(backends) == 1:
        return (replace(backends[0], weight=backends[0].weight or 100),)
    if backends and not sum(backend.weight for backend in backends):
        fields.wrong("route", "all weights are 0: give at least one destination a weight")
    return backends


def read_destination(fields: Fields, name: str, namespace: str, weight: int = 1) -> BackendRef:
    """Read a ``destination``; its port may be left out where a host has one."""
    inner = fields.child(name)
    text = inner.required("host")
    host = read_host(inner, "host", text, namespace)
    if host.startswith("*"):
        inner.wrong("host", f"{text!r} is no destination: name one host")
    port = inner.child("port")
    number = port.integer("number", 0, 1, 65535)
    if not port.missing and not number:
        port.wrong("number", "missing")
    backend = BackendRef(
        namespace=namespace,
        name=text,
        host=host,
        port=number,
        weight=weight,
        origin=inner.origin,
        path=inner.path,
        kind="Hostname",
        subset=inner.text("subset"),
    )
    port.end()
    inner.end()
    return backend


def read_mirrors(fields: Fields, namespace: str) -> tuple[Mirror, ...]:
    """Read ``mirror`` with its percentage, or ``mirrors``."""
    percent = fields.integer("mirrorPercent", 100, 0, 100)
    share = read_percentage(fields.child("mirrorPercentage"), float(percent))
    found = []
    if fields.has("mirror"):
        found.append(Mirror(read_destination(fields, "mirror", namespace), share))
    for inner in fields.children("mirrors"):
        backend = read_destination(inner, "destination", namespace)
        found.append(Mirror(backend, read_percentage(inner.child("percentage"), 100.0)))
        inner.end()
    if fields.has("mirror") and fields.has("mirrors"):
        fields.wrong("mirrors", "give either mirror or mirrors")
    return tuple(mirror for mirror in found if mirror.share)


def read_percentage(fields: Fields, default: float) -> int:
    """Read a ``Percent`` as a share of a million."""
    value = fields.number("value", default, 0, 100)
    fields.end()
    return round(value * WHOLE / 100)


def read_answer(fields: Fields) -> Answer | None:
    """Read ``directResponse``."""
    if fields.missing:
        return None
    status = fields.integer("status", 0, 200, 599)
    if fields.value("status") is None:
        fields.wrong("status", "missing")
    inner = fields.child("body")
    body = inner.text("string").encode()
    if inner.has("bytes"):
        try:
            body = base64.b64decode(inner.text("bytes"), validate=True)
        except (binascii.Error, ValueError):
            inner.wrong("bytes", "is not base64")
    if len(body) > BODY:
        inner.wrong("", f"{len(body)} bytes are too much: at most {BODY}")
    inner.end()
    fields.end()
    return Answer(status, body)
