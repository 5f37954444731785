from __future__ import annotations

import pytest

from deploy.standalone.control.gatewayapi import From, Gateway, ReferenceGrant
from tests.deploy.standalone.control.helpers import GATEWAY, complaints, one, read

GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: a, namespace: store}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service, name: web}]
"""


def test_a_gateway() -> None:
    found = one(GATEWAY)
    assert isinstance(found, Gateway)
    assert found.listeners[0].users is From.SAME


def test_a_gateway_of_another_class_is_ignored_with_a_notice() -> None:
    loaded = read(GATEWAY.replace("tandem-waypoint", "istio"))
    assert loaded.documents == ()
    assert loaded.rejected == ()
    assert loaded.problems[0].message.startswith("Gateways of class istio are ignored")


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        (
            "15008",
            "80",
            "spec.listeners[0].protocol",
            "a waypoint's listener is protocol HBONE",
        ),
        (
            "HBONE",
            "HTTP",
            "spec.listeners[0].protocol",
            "a waypoint's listener is protocol HBONE",
        ),
        (
            "HBONE",
            "HBONE, allowedRoutes: {namespaces: {from: Selector}}",
            "spec.listeners[0].allowedRoutes.namespaces.selector",
            "missing: name labels",
        ),
        ("HBONE", "HBONE, hostname: a.b", "spec.listeners[0].hostname", "not supported"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, field: str, message: str) -> None:
    ((_, where, why),) = complaints(GATEWAY.replace(old, new))
    assert where == field
    assert why.startswith(message)


def test_a_grant_allows_what_it_names() -> None:
    found = one(GRANT)
    assert isinstance(found, ReferenceGrant)
    assert found.allows("HTTPRoute", "shop", "web")
    assert not found.allows("HTTPRoute", "shop", "other")
    assert not found.allows("HTTPRoute", "other", "web")
    assert not found.allows("TCPRoute", "shop", "web")


def test_a_grant_without_a_name_allows_all_services() -> None:
    found = one(GRANT.replace(", name: web", ""))
    assert isinstance(found, ReferenceGrant)
    assert found.allows("HTTPRoute", "shop", "anything")


def test_a_grant_for_secrets_allows_no_service() -> None:
    (document,) = read(GRANT.replace("kind: Service", "kind: Secret")).documents
    assert isinstance(document.value, ReferenceGrant)
    assert not document.value.allows("HTTPRoute", "shop", "web")
