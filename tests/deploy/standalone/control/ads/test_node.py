from __future__ import annotations

import pytest

from deploy.standalone.control.ads.node import Node
from deploy.standalone.control.errors import NodeIdError


def test_reads_both_roles() -> None:
    text = "waypoint~10.244.1.7~waypoint-1a2b3-0.shop~shop.svc.cluster.local"
    assert Node.parse(text) == Node(text, "waypoint", "10.244.1.7", "waypoint-1a2b3-0", "shop")
    assert Node.parse("ztunnel~fd00::1~node1.system~x").role == "ztunnel"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected <ztunnel|waypoint>~"),
        ("sidecar~1.2.3.4~a.b~c", "unknown role 'sidecar'"),
        ("ztunnel~1.2.3~a.b~c", "'1.2.3' is no IP address"),
        ("ztunnel~1.2.3.4~a~c", "'a' is no <pod>.<namespace>"),
        ("ztunnel~1.2.3.4~a.b", "expected"),
    ],
)
def test_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(NodeIdError, match="node id") as caught:
        Node.parse(text)
    assert reason in str(caught.value)
