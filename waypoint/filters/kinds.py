"""Every filter that there is."""

from __future__ import annotations

from waypoint.filters import decode_buffer
from waypoint.filters.ext_authz.decode import EXT_AUTHZ
from waypoint.filters.fault.filter import KIND as FAULT
from waypoint.filters.fault.filter import TYPE as FAULT_TYPE
from waypoint.filters.global_limit.decode import GLOBAL_LIMIT
from waypoint.filters.jwt.decode import KIND as JWT
from waypoint.filters.local_limit.filter import KIND as LOCAL_LIMIT
from waypoint.filters.local_limit.filter import TYPE as LOCAL_LIMIT_TYPE
from waypoint.filters.plugin import decode as plugins
from waypoint.filters.rbac import decode as rbac
from waypoint.filters.registry import Kind, Kinds

KINDS: Kinds = {
    rbac.TYPE: rbac.KIND,
    FAULT_TYPE: FAULT,
    LOCAL_LIMIT_TYPE: LOCAL_LIMIT,
    plugins.KIND: Kind(plugins.read_plugin, {}),
    "envoy.extensions.filters.http.buffer.v3.Buffer": Kind(
        decode_buffer.build,
        {"envoy.extensions.filters.http.buffer.v3.BufferPerRoute": decode_buffer.per_route},
    ),
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": EXT_AUTHZ,
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": JWT,
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit": GLOBAL_LIMIT,
}
