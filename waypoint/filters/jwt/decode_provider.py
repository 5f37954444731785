"""Whose tokens are taken and by which keys, from Envoy's JwtProvider."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from waypoint.decode.edits import editable
from waypoint.decode.fields import each, header_name, only, seconds
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.filters.jwt.keys import KeysError, parse_keys
from waypoint.filters.jwt.places import CookiePlace, HeaderPlace, ParamPlace, Place
from waypoint.filters.jwt.settings import SKEW, ClaimHeader, Provider, bare_audience
from waypoint.filters.jwt.slots import Held, Remote, Slot

PROVIDER = {
    "issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "remote_jwks",
    "local_jwks", "forward", "from_headers", "from_params", "from_cookies",
    "forward_payload_header", "pad_forward_payload_header", "payload_in_metadata",
    "normalize_payload_in_metadata", "header_in_metadata", "failed_status_in_metadata",
    "clock_skew_seconds", "jwt_cache_config", "claim_to_headers", "clear_route_cache",
}  # fmt: skip
REMOTE = {"http_uri", "cache_duration", "async_fetch", "retry_policy"}
#: Names of parameters and cookies.
WORD = re.compile(r"[!-~]+")
#: Requests wait for a first fetch, and so many do; seconds.
LONGEST = 60.0
RETRIES = 10


def provider(name: str, message: Any, at: str) -> Provider:
    """Decode a JwtProvider."""
    only(message, PROVIDER, at)
    if message.HasField("jwt_cache_config"):
        cache = {"jwt_cache_size", "jwt_max_token_size"}
        only(message.jwt_cache_config, cache, f"{at}jwt_cache_config.")
    normalize = message.normalize_payload_in_metadata
    only(normalize, {"space_delimited_claims"}, f"{at}normalize_payload_in_metadata.")
    lifetime = math.inf if message.require_expiration else None
    if message.HasField("max_lifetime"):
        lifetime = seconds(message, "max_lifetime", at)
    subjects = None
    if message.HasField("subjects"):
        subjects = string_match(message.subjects, f"{at}subjects.")
    payload_header = b""
    if message.forward_payload_header:
        where = f"{at}forward_payload_header"
        payload_header = editable(header_name(message.forward_payload_header, where), where)
    return Provider(
        name=name,
        slot=slot(message, at),
        issuer=message.issuer,
        audiences=frozenset(map(bare_audience, message.audiences)),
        subjects=subjects,
        lifetime=lifetime,
        skew=message.clock_skew_seconds or SKEW,
        places=places(message, at),
        forward=message.forward,
        payload_header=payload_header,
        padded=message.pad_forward_payload_header,
        claim_headers=each(message.claim_to_headers, f"{at}claim_to_headers", claim_header),
        payload_note=message.payload_in_metadata,
        header_note=message.header_in_metadata,
        failure_note=message.failed_status_in_metadata,
        space_delimited=tuple(normalize.space_delimited_claims),
        clear_route_cache=message.clear_route_cache,
    )


def places(message: Any, at: str) -> tuple[Place, ...]:
    """Where a provider's tokens are."""

    def header(one: Any, where: str) -> Place:
        """Decode a JwtHeader."""
        only(one, {"name", "value_prefix"}, where)
        return HeaderPlace(header_name(one.name, f"{where}name"), one.value_prefix.encode())

    found = each(message.from_headers, f"{at}from_headers", header)
    found += tuple(ParamPlace(word(name, f"{at}from_params")) for name in message.from_params)
    return found + tuple(
        CookiePlace(word(name, f"{at}from_cookies")) for name in message.from_cookies
    )


def word(name: str, at: str) -> bytes:
    """The name of a parameter or a cookie."""
    if not WORD.fullmatch(name):
        raise RouteError(f"{at} {name!r} is empty, or has a space or a control character")
    return name.encode()


def claim_header(message: Any, at: str) -> ClaimHeader:
    """Decode a JwtClaimToHeader; points lead into claims."""
    only(message, {"header_name", "claim_name"}, at)
    if not message.claim_name:
        raise RouteError(f"{at}claim_name is empty")
    where = f"{at}header_name"
    name = editable(header_name(message.header_name, where), where)
    return ClaimHeader(name, tuple(message.claim_name.split(".")))


def slot(message: Any, at: str) -> Slot:
    """Where a provider's keys are."""
    match message.WhichOneof("jwks_source_specifier"):
        case "local_jwks":
            where = f"{at}local_jwks"
            only(message.local_jwks, {"inline_string", "inline_bytes"}, f"{where}.")
            inline = message.local_jwks.inline_bytes
            inline = inline or message.local_jwks.inline_string.encode()
            try:
                return Slot(held=Held(parse_keys(inline)))
            except KeysError as error:
                raise RouteError(f"{where}: Jwks {error}") from error
        case "remote_jwks":
            return Slot(remote(message.remote_jwks, f"{at}remote_jwks."))
        case _:
            raise RouteError(f"{at}jwks_source_specifier is missing")


def remote(message: Any, at: str) -> Remote:
    """Decode a RemoteJwks."""
    only(message, REMOTE, at)
    only(message.http_uri, {"uri", "cluster", "timeout"}, f"{at}http_uri.")
    uri = message.http_uri.uri
    try:
        parts = urlsplit(uri)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not WORD.fullmatch(uri):
        raise RouteError(f"{at}http_uri.uri {uri!r} is no http:// or https:// address")
    timeout = seconds(message.http_uri, "timeout", f"{at}http_uri.") or 0.0
    if not 0 < timeout <= LONGEST:
        raise RouteError(f"{at}http_uri.timeout {timeout} s is not from 0 to {LONGEST:g} s")
    found = Remote(uri, message.http_uri.cluster, timeout)
    if message.HasField("cache_duration"):
        found = replace(found, cache=seconds(message, "cache_duration", at) or 0.0)
    if message.HasField("async_fetch"):
        fetch, where = message.async_fetch, f"{at}async_fetch."
        only(fetch, {"fast_listener", "failed_refetch_duration"}, where)
        found = replace(found, refetch=seconds(fetch, "failed_refetch_duration", where))
    if message.HasField("retry_policy"):
        found = retrying(found, message.retry_policy, f"{at}retry_policy.")
    return found


def retrying(found: Remote, message: Any, at: str) -> Remote:
    """Decode a RetryPolicy: how often and how soon one fetch is tried again."""
    only(message, {"num_retries", "retry_back_off"}, at)
    retries = message.num_retries.value if message.HasField("num_retries") else 1
    if retries > RETRIES:
        raise RouteError(f"{at}num_retries {retries} is more than {RETRIES}")
    found = replace(found, retries=retries)
    if not message.HasField("retry_back_off"):
        return found
    pause, where = message.retry_back_off, f"{at}retry_back_off."
    only(pause, {"base_interval", "max_interval"}, where)
    base = seconds(pause, "base_interval", where) or 0.0
    most = seconds(pause, "max_interval", where) or 10 * base
    if not 0 < base <= most:
        raise RouteError(f"{where}base_interval {base} s is not from 0 to max_interval")
    return replace(found, pauses=(base, most))
