"""Routes' own settings for filters: Envoy's typed_per_filter_config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.route.v3.route_components_pb2 import FilterConfig
from google.protobuf.message import DecodeError

from waypoint.decode.cors import FILTER as CORS
from waypoint.decode.fields import only
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.registry import Kinds

#: The wrapper that can turn a filter off.
WRAPPER = "envoy.config.route.v3.FilterConfig"


def overrides(configs: Mapping[str, Any], at: str, kinds: Kinds) -> dict[str, Any]:
    """Settings by filters' names, the CORS filter's aside; raises RouteError."""
    return {
        name: override(value, f"{at}typed_per_filter_config[{name}]", kinds)
        for name, value in configs.items()
        if name != CORS
    }


def override(value: Any, at: str, kinds: Kinds) -> Any:
    """One filter's settings, or DISABLED."""
    kind = value.type_url.partition("/")[2]
    try:
        if kind == WRAPPER:
            wrapper = FilterConfig()
            wrapper.ParseFromString(value.value)
            only(wrapper, {"config", "disabled"}, f"{at}.")
            return (
                DISABLED
                if wrapper.disabled
                else override(wrapper.config, f"{at}.config", kinds)
            )
        decoders = [each.overrides[kind] for each in kinds.values() if kind in each.overrides]
        if not decoders:
            raise RouteError(f"{at} ({value.type_url}) is not supported")
        return decoders[0](value.value, f"{at}.")
    except DecodeError as error:
        raise RouteError(f"{at}: not a {kind}: {error}") from error
