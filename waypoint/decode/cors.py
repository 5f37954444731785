"""Cross-origin rules: the CorsPolicy of Envoy's CORS filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy

from waypoint.decode.fields import each, fraction, only, parsed, text
from waypoint.decode.text import string_match
from waypoint.errors import RouteError
from waypoint.routing.cors import Cors

FILTER = "envoy.filters.http.cors"
TYPE_URL = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
#: shadow_enabled only makes Envoy count; forward_not_matching_preflights: true if absent.
POLICY = {
    "allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers",
    "max_age", "allow_credentials", "filter_enabled", "shadow_enabled",
    "allow_private_network_access", "forward_not_matching_preflights",
}  # fmt: skip


def filter_policy(configs: Mapping[str, Any], at: str) -> CorsPolicy | None:
    """The CorsPolicy of a typed_per_filter_config."""
    where = f"{at}typed_per_filter_config[{FILTER}]"
    value = configs.get(FILTER)
    if value is None:
        return None
    if value.type_url != TYPE_URL:
        raise RouteError(f"{where} ({value.type_url}) is not supported")
    policy = parsed(CorsPolicy, value.value, f"{where}: ")
    only(policy, POLICY, f"{where}.")
    return policy


def cors(policies: tuple[CorsPolicy | None, ...], at: str) -> Cors | None:
    """What is in force by policies, the most general one first; None: nothing.

    What a more specific one doesn't say holds as the other says it, but for
    filter_enabled (as in Envoy).
    """
    merged = CorsPolicy()
    for policy in policies:
        if policy is not None:
            for name in {"filter_enabled", *(field.name for field, _ in policy.ListFields())}:
                merged.ClearField(name)
            merged.MergeFrom(policy)
    if not any(policy is not None for policy in policies) or not enabled(merged, at):
        return None
    forwards = merged.forward_not_matching_preflights
    return Cors(
        origins=each(
            merged.allow_origin_string_match, f"{at}allow_origin_string_match", string_match
        ),
        methods=text(merged.allow_methods, f"{at}allow_methods"),
        headers=text(merged.allow_headers, f"{at}allow_headers"),
        exposed=text(merged.expose_headers, f"{at}expose_headers"),
        max_age=text(merged.max_age, f"{at}max_age"),
        credentials=merged.allow_credentials.value,
        private_network=merged.allow_private_network_access.value,
        forward_others=forwards.value
        if merged.HasField("forward_not_matching_preflights")
        else True,
    )


def enabled(policy: CorsPolicy, at: str) -> bool:
    """Whether the filter is on; raises RouteError for a share of requests."""
    if not policy.HasField("filter_enabled"):
        return True
    share = fraction(policy.filter_enabled, f"{at}filter_enabled.")
    if share.numerator and share.numerator < share.denominator:
        raise RouteError(f"{at}filter_enabled: only all or no requests are supported")
    return share.numerator > 0
