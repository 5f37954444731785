"""Every filter that there is."""

from __future__ import annotations

from waypoint.filters import decode_buffer as buffer
from waypoint.filters.ext_authz import decode as ext_authz
from waypoint.filters.fault import decode as fault
from waypoint.filters.global_limit import decode as global_limit
from waypoint.filters.jwt import decode as jwt
from waypoint.filters.local_limit import decode as local_limit
from waypoint.filters.plugin import decode as plugin
from waypoint.filters.rbac import decode as rbac
from waypoint.filters.registry import Kinds

KINDS: Kinds = {
    buffer.TYPE: buffer.KIND,
    ext_authz.TYPE: ext_authz.KIND,
    fault.TYPE: fault.KIND,
    global_limit.TYPE: global_limit.KIND,
    jwt.TYPE: jwt.KIND,
    local_limit.TYPE: local_limit.KIND,
    plugin.TYPE: plugin.KIND,
    rbac.TYPE: rbac.KIND,
}
