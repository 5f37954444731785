"""RequestAuthentications."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.targetrefs import read_selector_or_targets
from deploy.standalone.control.manifests.texts import check_header
from deploy.standalone.control.tokenapi import TIMEOUT, JwtRule, RequestAuthentication
from waypoint.filters.jwt.keys import KeysError, parse_keys

#: What may be set in a request's head and isn't what frames or addresses it.
RESERVED = {"host", "content-length", "transfer-encoding", "connection", "upgrade"}
WORD = re.compile(r"[!-~]+")
#: Seconds that a request waits for keys at most.
LONGEST = 60.0
DETACHED = (
    "without effect: only waypoints look at tokens, and they aren't selected by labels; name "
    "a Service, ServiceEntry or Gateway in targetRefs"
)


def read_request_authentication(
    document: Fields, _folder: Path | None
) -> RequestAuthentication:
    """Read a RequestAuthentication."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    selector, labels, targets = read_selector_or_targets(spec, metadata.namespace)
    if not targets:
        spec.notice("selector" if labels else "targetRefs", DETACHED)
    made = RequestAuthentication(
        namespace=metadata.namespace,
        name=metadata.name,
        selector=labels,
        targets=targets,
        rules=tuple(read_rule(inner) for inner in spec.children("jwtRules")),
        origin=document.origin,
    )
    selector.end()
    spec.end()
    return made


def read_rule(fields: Fields) -> JwtRule:
    """Read one of ``jwtRules``."""
    issuer = fields.required("issuer")
    timeout = read_time(fields, "timeout")
    if timeout is not None and timeout > LONGEST:
        fields.wrong("timeout", f"{timeout:g} s is more than {LONGEST:g} s")
    rule = JwtRule(
        issuer=issuer,
        audiences=read_words(fields, "audiences"),
        jwks=read_jwks(fields),
        jwks_uri=read_uri(fields),
        headers=tuple(read_location(inner) for inner in fields.children("fromHeaders")),
        params=read_words(fields, "fromParams"),
        cookies=read_words(fields, "fromCookies"),
        payload_header=fields.text("outputPayloadToHeader"),
        claim_headers=tuple(
            read_claim(inner) for inner in fields.children("outputClaimToHeaders")
        ),
        forward=fields.boolean("forwardOriginalToken"),
        timeout=TIMEOUT if timeout is None else timeout,
        space_delimited=read_words(fields, "spaceDelimitedClaims"),
    )
    check_output(fields, "outputPayloadToHeader", rule.payload_header)
    if rule.jwks and rule.jwks_uri:
        fields.wrong("jwks", "give either jwks or jwksUri")
    if not rule.jwks and not rule.jwks_uri and not is_address(issuer):
        fields.wrong(
            "jwksUri", f"missing: {issuer!r} is no address to ask for it, nor is jwks given"
        )
    fields.end()
    return rule


def read_words(fields: Fields, name: str) -> tuple[str, ...]:
    """Read a list of texts without spaces."""
    values = fields.texts(name)
    for index, value in enumerate(values):
        if not WORD.fullmatch(value) and not fields.report.failed:
            fields.wrong(name, f"[{index}]: {value!r} is empty, or has a space in it")
    return values


def read_jwks(fields: Fields) -> str:
    """Read ``jwks``: keys of which one at least can be used."""
    text = fields.text("jwks")
    if text:
        try:
            for reason in parse_keys(text.encode()).unused:
                fields.notice("jwks", f"without effect: {reason}")
        except KeysError as error:
            fields.wrong("jwks", f"can't be used: it {error}")
    return text


def read_uri(fields: Fields) -> str:
    """Read ``jwksUri``."""
    uri = fields.text("jwksUri")
    if uri and not is_address(uri):
        fields.wrong("jwksUri", f"{uri!r} is no http:// or https:// address")
    return uri


def is_address(text: str) -> bool:
    """Whether something can be fetched there."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return sound and WORD.fullmatch(text) is not None


def read_location(fields: Fields) -> tuple[str, str]:
    """Read one of ``fromHeaders``: a name and what stands before the token."""
    name, prefix = fields.required("name"), fields.text("prefix")
    check_header(fields, "name", name, prefix)
    fields.end()
    return name, prefix


def read_claim(fields: Fields) -> tuple[str, str]:
    """Read one of ``outputClaimToHeaders``: a header and a claim."""
    header, claim = fields.required("header"), fields.required("claim")
    check_output(fields, "header", header)
    fields.end()
    return header, claim


def check_output(fields: Fields, name: str, header: str) -> None:
    """Report a header that can't be set."""
    check_header(fields, name, header)
    if header.lower() in RESERVED:
        fields.wrong(name, f"{header} says where a request goes or ends: use another name")
