"""Whether what an ADS client says of itself fits its token: istiod's rules.

(istio: pilot/pkg/xds/auth.go)
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.standalone.control.ads.node import Node
from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import ForbiddenError


def check_node(node: Node, metadata: Mapping[str, object], claims: Claims) -> None:
    """Raise ForbiddenError where a client pretends to be another than its token says."""
    if node.namespace != claims.namespace:
        raise ForbiddenError(
            f"node id {node.id!r}: namespace {node.namespace!r}, and the token is of "
            f"{claims.namespace!r}"
        )
    for name, own in (
        ("NAMESPACE", claims.namespace),
        ("SERVICE_ACCOUNT", claims.service_account),
        ("NODE_NAME", claims.node),
    ):
        said = metadata.get(name)
        if said not in (None, "", own):
            raise ForbiddenError(f"metadata {name} is {said!r}, and the token is of {own!r}")
