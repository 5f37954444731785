"""How a DestinationRule wants endpoints to be chosen."""

from __future__ import annotations

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.texts import check_header
from deploy.standalone.control.trafficapi import Balancer, Hashing, LocalityRule, Warmup

#: Istio's words, and what each comes to.
SIMPLE = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "RANDOM": "RANDOM",
    "ROUND_ROBIN": "ROUND_ROBIN",
}
KEYS = ("httpHeaderName", "httpQueryParameterName", "httpCookie", "useSourceIp")
#: Envoy's bound on a ring, and on a table.
MAX_RING, MAX_TABLE = 8 << 20, 5_000_011


def read_balancer(fields: Fields) -> Balancer | None:
    """Read ``loadBalancer``; None where nothing is said."""
    if fields.missing:
        return None
    word = fields.text("simple", "UNSPECIFIED")
    if word == "PASSTHROUGH":
        fields.wrong("simple", "not supported: PASSTHROUGH; a waypoint chooses endpoints")
    elif word not in SIMPLE:
        fields.wrong("simple", f"{word!r} is none of {', '.join(SIMPLE)}")
    hashing = read_hashing(fields.child("consistentHash"))
    if hashing and fields.has("simple"):
        fields.wrong("consistentHash", "give either simple or consistentHash")
    simple = SIMPLE.get(word, "LEAST_REQUEST")
    warmup = read_warmup(fields)
    if warmup and (hashing or simple == "RANDOM"):
        fields.wrong("warmup", "goes with ROUND_ROBIN and LEAST_REQUEST only")
    balancer = Balancer(
        simple=simple,
        hashing=hashing,
        locality=read_locality(fields.child("localityLbSetting")),
        warmup=warmup,
    )
    fields.end()
    return balancer


def read_warmup(fields: Fields) -> Warmup | None:
    """Read ``warmup``, or ``warmupDurationSecs``, which it took the place of."""
    inner = fields.child("warmup")
    short = read_time(fields, "warmupDurationSecs")
    if inner.missing:
        return Warmup(short) if short else None
    duration = read_time(inner, "duration")
    if duration is None:
        inner.wrong("duration", "missing")
    warmup = Warmup(
        duration or 0.0,
        inner.number("minimumPercent", 10.0, 0, 100),
        inner.number("aggression", 1.0, 1, 1000),
    )
    inner.end()
    return warmup


def read_hashing(fields: Fields) -> Hashing | None:
    """Read ``consistentHash``."""
    if fields.missing:
        return None
    given = [key for key in KEYS if fields.has(key)]
    if len(given) != 1:
        fields.wrong("", f"needs one of {', '.join(KEYS)}")
    kind, name, path, lifetime = "source", "", "", None
    if "httpHeaderName" in given:
        kind, name = "header", fields.text("httpHeaderName")
        check_header(fields, "httpHeaderName", name)
    elif "httpQueryParameterName" in given:
        kind, name = "query", fields.text("httpQueryParameterName")
    elif "httpCookie" in given:
        cookie = fields.child("httpCookie")
        kind, name, path = "cookie", cookie.required("name"), cookie.text("path")
        lifetime = read_time(cookie, "ttl", zero=True)
        cookie.end()
    elif "useSourceIp" in given and not fields.boolean("useSourceIp"):
        fields.wrong(
            "useSourceIp", "false hashes nothing: name something else, or leave it out"
        )
    ring, maglev = fields.child("ringHash"), fields.child("maglev")
    size = ring.integer("minimumRingSize", 0, 0, MAX_RING)
    size = size or fields.integer("minimumRingSize", 0, 0, MAX_RING)
    if not maglev.missing:
        if not ring.missing:
            fields.wrong("maglev", "give either ringHash or maglev")
        size = maglev.integer("tableSize", 0, 2, MAX_TABLE)
    for part in (ring, maglev, fields):
        part.end()
    return Hashing(kind, name, path, lifetime, not maglev.missing, size)


def read_locality(fields: Fields) -> LocalityRule | None:
    """Read ``localityLbSetting``."""
    if fields.missing:
        return None
    distribute = []
    for inner in fields.children("distribute"):
        shares = inner.child("to")
        to = tuple((place, shares.integer(place, 0, 0, 100)) for place in shares.values)
        if sum(share for _, share in to) != 100:
            inner.wrong("to", "the shares must be 100 together")
        distribute.append((inner.required("from"), to))
        inner.end()
    failover = []
    for inner in fields.children("failover"):
        failover.append((inner.required("from"), inner.required("to")))
        inner.end()
    rule = LocalityRule(
        enabled=fields.boolean("enabled", default=True),
        distribute=tuple(distribute),
        failover=tuple(failover),
        priority=fields.texts("failoverPriority"),
    )
    if rule.distribute and (rule.failover or rule.priority):
        fields.wrong("distribute", "give either distribute, or failover and failoverPriority")
    fields.end()
    return rule
