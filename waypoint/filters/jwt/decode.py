"""What tokens are asked for, from Envoy's JwtAuthentication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as pb

from waypoint.decode.fields import each, only
from waypoint.decode.match import route_match
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.jwt.decode_provider import provider
from waypoint.filters.jwt.filter import JwtFilter
from waypoint.filters.jwt.settings import (
    AllOf,
    AllowFailed,
    AllowMissing,
    AnyOf,
    ByProvider,
    Override,
    Provider,
    Requirement,
    Rule,
    Settings,
    bare_audience,
)
from waypoint.filters.registry import Kind

TYPE = pb.JwtAuthentication.DESCRIPTOR.full_name
AUTHENTICATION = {
    "providers", "rules", "bypass_cors_preflight", "requirement_map",
    "strip_failure_response", "stat_prefix",
}  # fmt: skip
REQUIREMENT = {
    "provider_name", "provider_and_audiences", "requires_any", "requires_all",
    "allow_missing", "allow_missing_or_failed",
}  # fmt: skip
#: Requirements in requirements.
DEEPEST = 10


def build(name: str, value: bytes, at: str) -> JwtFilter:
    """Decode a serialized JwtAuthentication."""
    message = pb.JwtAuthentication.FromString(value)
    only(message, AUTHENTICATION, at)
    providers = {
        key: provider(key, message.providers[key], f"{at}providers[{key}].")
        for key in sorted(message.providers)
    }
    named = {
        key: requirement(
            message.requirement_map[key], f"{at}requirement_map[{key}].", providers
        )
        for key in sorted(message.requirement_map)
    }

    def rule(one: Any, where: str) -> Rule:
        """Decode a RequirementRule."""
        only(one, {"match", "requires", "requirement_name"}, where)
        match = route_match(one.match, f"{where}match.")
        if match.fraction is not None:
            raise RouteError(f"{where}match.runtime_fraction is not supported: no draws here")
        if one.WhichOneof("requirement_type") != "requirement_name":
            return Rule(match, requirement(one.requires, f"{where}requires.", providers))
        if one.requirement_name not in named:
            raise RouteError(
                f"{where}requirement_name {one.requirement_name!r} is not in requirement_map"
            )
        return Rule(match, named[one.requirement_name])

    settings = Settings(
        providers=tuple(providers.values()),
        rules=each(message.rules, f"{at}rules", rule),
        named=named,
        bypass_preflight=message.bypass_cors_preflight,
        strip=message.strip_failure_response,
    )
    return JwtFilter(name, settings)


def override(value: bytes, at: str) -> Any:
    """Decode a serialized PerRouteConfig."""
    message = pb.PerRouteConfig.FromString(value)
    only(message, {"disabled", "requirement_name"}, at)
    if message.disabled:
        return DISABLED
    if not message.requirement_name:
        raise RouteError(f"{at}neither disabled nor requirement_name is set")
    return Override(message.requirement_name)


KIND = Kind(build, {pb.PerRouteConfig.DESCRIPTOR.full_name: override})


def requirement(
    message: Any, at: str, providers: Mapping[str, Provider], depth: int = 0
) -> Requirement | None:
    """Decode a JwtRequirement; None: nothing is required."""
    only(message, REQUIREMENT, at)
    if depth > DEEPEST:
        raise RouteError(f"{at} is nested deeper than {DEEPEST}")
    match message.WhichOneof("requires_type"):
        case "provider_name":
            return ByProvider(named(message.provider_name, f"{at}provider_name", providers))
        case "provider_and_audiences":
            inner, where = message.provider_and_audiences, f"{at}provider_and_audiences."
            only(inner, {"provider_name", "audiences"}, where)
            return ByProvider(
                named(inner.provider_name, f"{where}provider_name", providers),
                frozenset(map(bare_audience, inner.audiences)) or None,
            )
        case "allow_missing":
            return AllowMissing()
        case "allow_missing_or_failed":
            return AllowFailed()
        case "requires_any" | "requires_all" as kind:
            group = getattr(message, kind)
            only(group, {"requirements"}, f"{at}{kind}.")
            found = each(
                group.requirements,
                f"{at}{kind}.requirements",
                lambda m, where: requirement(m, where, providers, depth + 1),
            )
            return combined(found, every=kind == "requires_all")
        case _:
            return None


def combined(found: tuple[Requirement | None, ...], *, every: bool) -> Requirement | None:
    """All of some requirements, or any of them; None is what everybody fulfils.

    Of any, those before such a one are still looked at, for what good tokens tell.
    """
    if every:
        real = tuple(one for one in found if one is not None)
        return AllOf(real) if real else None
    looked = found[: found.index(None)] if None in found else found
    missing = AllowMissing() in found
    failed = AllowFailed() in found or len(looked) < len(found)
    real = tuple(
        one for one in looked if one and not isinstance(one, AllowMissing | AllowFailed)
    )
    if not real and None in found:
        return None
    if not real:
        return AllowFailed() if failed else AllowMissing()
    return AnyOf(real, missing, failed)


def named(name: str, at: str, providers: Mapping[str, Provider]) -> Provider:
    """The provider of a name."""
    if name not in providers:
        raise RouteError(f"{at} {name!r} is not configured: providers has {sorted(providers)}")
    return providers[name]
