from __future__ import annotations

import pytest

from tests.deploy.standalone.control.helpers import complaints, istio


def told(target: str, namespace: str = "shop") -> str:
    text = istio(
        "security", "RequestAuthentication", "t", f"targetRefs: [{target}]", namespace, ""
    )
    return "".join(f"{field}: {message}" for _, field, message in complaints(text))


@pytest.mark.parametrize(
    "target",
    [
        "{kind: Service, name: web}",
        "{kind: Service, name: web, group: core, namespace: shop}",
        "{kind: ServiceEntry, name: out, group: networking.istio.io}",
        "{kind: Gateway, name: waypoint, group: gateway.networking.k8s.io}",
    ],
)
def test_what_can_be_meant(target: str) -> None:
    assert told(target) == ""


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("{kind: Pod, name: web}", "kind: 'Pod' is none of"),
        ("{kind: Service, name: web, group: apps}", "Service is of 'the core group'"),
        ("{kind: Service}", "name: missing"),
        ("{kind: Service, name: web, namespace: other}", "only what is in shop itself"),
        (
            "{kind: GatewayClass, name: c, group: gateway.networking.k8s.io}",
            "in istio-system only",
        ),
    ],
)
def test_what_can_not_is_named(target: str, named: str) -> None:
    assert named in told(target)


def test_the_root_namespace_means_classes() -> None:
    assert (
        told("{kind: GatewayClass, name: c, group: gateway.networking.k8s.io}", "istio-system")
        == ""
    )
