"""Texts of AuthorizationPolicies as Envoy's matchers, with Istio's wildcards."""

from __future__ import annotations

import re
from typing import Any

from envoy.config.rbac.v3.rbac_pb2 import Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from deploy.standalone.control.translate.matching import PAYLOAD, TOKENS

#: The identity that the mesh proved, as Envoy's waypoint keeps it.
PEER_PRINCIPAL = "io.istio.peer_principal"
SPIFFE = "spiffe://"
SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
BRACKETS = re.compile(r"\[([^\[\]]*)\]")
ANY = ".+"


def quoted(text: str) -> str:
    """A text as the regular expression that only it matches."""
    return SPECIAL.sub(r"\\\g<0>", text)


def regex(pattern: str) -> Any:
    """A whole match."""
    made = StringMatcher()
    made.safe_regex.regex = pattern
    return made


def text_match(value: str, prefix: str = "", *, ignore_case: bool = False) -> Any:
    """``*`` alone, in front, or at the end. prefix: what goes before every value."""
    if value == "*":
        return regex(ANY)
    if value.startswith("*"):
        if prefix:
            return regex(f"{prefix}.*{quoted(value[1:])}")
        return StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return StringMatcher(prefix=prefix + value[:-1], ignore_case=ignore_case)
    return StringMatcher(exact=prefix + value, ignore_case=ignore_case)


def header_match(name: str, value: str, *, ignore_case: bool = False) -> Any:
    """A header that must be there, with such a value."""
    if value == "*":
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=text_match(value, ignore_case=ignore_case))


def identity(match: Any) -> Any:
    """A client whose SPIFFE ID matches."""
    made = Principal()
    made.filter_state.key = PEER_PRINCIPAL
    made.filter_state.string_match.CopyFrom(match)
    return made


def principal(value: str) -> Any:
    """A client by its identity, without ``spiffe://``."""
    return identity(text_match(value, SPIFFE))


def namespace(value: str) -> Any:
    """A client of a namespace; each * stands for anything."""
    name = ".*".join(quoted(part) for part in value.split("*"))
    return identity(regex(f".*/ns/{name}/.*"))


def service_account(value: str, own: str) -> Any:
    """A client by its service account: ``name`` in the namespace own, or ``namespace/name``."""
    place, slash, name = value.partition("/")
    if not slash:
        place, name = own, value
    return identity(regex(f"{SPIFFE}.+/ns/{quoted(place)}/(.+/|)sa/{quoted(name)}(/.+)?"))


def trust_domain(value: str) -> Any:
    """A client of a trust domain."""
    if value == "*":
        return identity(StringMatcher(prefix=SPIFFE))
    if "*" not in value:
        return identity(StringMatcher(prefix=f"{SPIFFE}{value}/"))
    before, _, after = value.partition("*")
    return identity(regex(f"{SPIFFE}{quoted(before)}[^/]*{quoted(after)}/.*"))


def request_principal(value: str) -> Any:
    """A token's issuer and subject, ``issuer/subject``; an issuer may hold slashes."""
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        issuer, subject = value, ""
    if value == "*":
        issuer = subject = "*"
    elif not slash and value.startswith("*"):
        issuer, subject = "*", value
    elif not slash and value.endswith("*"):
        subject = "*"
    both = Principal()
    for name, wanted in (("iss", issuer), ("sub", subject)):
        match = ValueMatcher(string_match=text_match(wanted))
        both.and_ids.ids.add().metadata.CopyFrom(claim((name,), match))
    return both


def claims(names: tuple[str, ...], values: tuple[str, ...]) -> Any:
    """A claim that is one of the values, or a list with one of them."""
    texts = [ValueMatcher(string_match=text_match(value)) for value in values]
    one = texts[0] if len(texts) == 1 else ValueMatcher()
    if len(texts) > 1:
        one.or_match.value_matchers.extend(texts)
    either = ValueMatcher()
    either.or_match.value_matchers.add().list_match.one_of.CopyFrom(one)
    either.or_match.value_matchers.add().CopyFrom(one)
    return Principal(metadata=claim(names, either))


def claim(names: tuple[str, ...], value: Any) -> Any:
    """A condition on a token's claim."""
    made = MetadataMatcher(filter=TOKENS, value=value)
    for name in (PAYLOAD, *names):
        made.path.add(key=name)
    return made


def bracketed(key: str) -> tuple[str, ...]:
    """The names in brackets at the end of a ``when`` key."""
    inner = key[key.index("[") :]
    found = tuple(BRACKETS.findall(inner))
    whole = "".join(f"[{name}]" for name in found) == inner
    return found if whole else (inner[1:-1],)
