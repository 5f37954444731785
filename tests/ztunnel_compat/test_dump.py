from __future__ import annotations

import json

from ztunnel_compat.dump import plain
from ztunnel_compat.model import (
    AppProtocol,
    Extension,
    GatewayAddress,
    LoadBalancing,
    LoadBalancingMode,
    NamespacedHostname,
    NetworkAddress,
    Scope,
    Service,
    ServicePort,
    Workload,
)


def test_a_workload_shows_what_is_not_default():
    workload = Workload(
        "uid",
        addresses=(b"\x0a\x00\x00\x01", bytes(15) + b"\x01"),
        services={"ns/web": (ServicePort(80, 8080, AppProtocol.HTTP11),)},
    )
    assert plain(workload) == {
        "uid": "uid",
        "addresses": ["10.0.0.1", "::1"],
        "services": {
            "ns/web": [{"service_port": 80, "target_port": 8080, "app_protocol": "HTTP11"}]
        },
    }


def test_a_service_is_json():
    service = Service(
        "web",
        "ns",
        "web.local",
        addresses=(NetworkAddress("net", b"\x0a\x00\x00\x00", 8),),
        waypoint=GatewayAddress(NamespacedHostname("ns", "waypoint.local")),
        load_balancing=LoadBalancing((Scope.ZONE,), LoadBalancingMode.STRICT),
        extensions=(Extension("route", "type/x", b"\xff\x00"),),
        namespace_visible_only=True,
    )
    assert json.loads(json.dumps(plain(service))) == {
        "name": "web",
        "namespace": "ns",
        "hostname": "web.local",
        "addresses": ["net/10.0.0.0/8"],
        "waypoint": "ns/waypoint.local",
        "load_balancing": {"routing_preference": ["ZONE"], "mode": "STRICT"},
        "extensions": [{"name": "route", "type_url": "type/x", "bytes": 2}],
        "namespace_visible_only": True,
    }
