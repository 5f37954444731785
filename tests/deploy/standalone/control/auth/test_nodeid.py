from __future__ import annotations

import pytest

from deploy.standalone.control.ads.node import Node
from deploy.standalone.control.auth.nodeid import check_node
from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import ForbiddenError

CLAIMS = Claims("shop", "web", "w", "u", "node1")
NODE = Node.parse("waypoint~10.0.0.1~w.shop~shop.svc.cluster.local")


def test_what_is_said_fits_the_token() -> None:
    check_node(NODE, {}, CLAIMS)
    said = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web", "NODE_NAME": "node1", "NAME": "x"}
    check_node(NODE, said, CLAIMS)


@pytest.mark.parametrize("name", ["NAMESPACE", "SERVICE_ACCOUNT", "NODE_NAME"])
def test_what_does_not_is_named(name: str) -> None:
    with pytest.raises(ForbiddenError, match=f"metadata {name} is 'other', and the token is"):
        check_node(NODE, {name: "other"}, CLAIMS)


def test_a_node_id_of_another_namespace() -> None:
    other = Node.parse("ztunnel~10.0.0.1~w.kube-system~x")
    with pytest.raises(ForbiddenError, match="namespace 'kube-system', and the token is of"):
        check_node(other, {}, CLAIMS)
