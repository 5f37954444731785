from __future__ import annotations

import pytest

from deploy.standalone.control.istioapi import MtlsMode, PeerAuthentication
from tests.deploy.standalone.control.helpers import authentication, complaints, one

WEB = "selector: {matchLabels: {app: web}}\n"


def test_everything_that_it_says() -> None:
    text = authentication(
        WEB
        + "mtls: {mode: STRICT}\nportLevelMtls: {9090: {mode: PERMISSIVE}, 80: {mode: UNSET}}"
    )
    found = one(text)
    assert isinstance(found, PeerAuthentication)
    assert (found.selector, found.mode) == ({"app": "web"}, MtlsMode.STRICT)
    assert found.ports == {80: MtlsMode.UNSET, 9090: MtlsMode.PERMISSIVE}
    assert str(found.key) == "peerauthentication/shop/default"
    assert one(text.replace("/v1\n", "/v1beta1\n")) == found


@pytest.mark.parametrize("spec", ["{}", "mtls: {}", "mtls: {mode: UNSET}", "mtls: null"])
def test_nothing_said_is_unset(spec: str) -> None:
    found = one(authentication(spec))
    assert isinstance(found, PeerAuthentication)
    assert found.mode is MtlsMode.UNSET


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (
            "mtls: {mode: strict}",
            "spec.mtls.mode",
            "'strict' is none of UNSET, DISABLE, PERMISSIVE, STRICT",
        ),
        (
            "mtls: {mode: 1}",
            "spec.mtls.mode",
            "expected a text, not the number 1: put it in quotes",
        ),
        ("mtls: STRICT", "spec.mtls", "expected a mapping, not the text 'STRICT'"),
        ("mtls: {mod: STRICT}", "spec.mtls.mod", "unknown field: did you mean mode?"),
        ("mode: STRICT", "spec.mode", "unknown field"),
        (
            WEB + "portLevelMtls: {http: {mode: STRICT}}",
            "spec.portLevelMtls.http",
            "'http' is no port from 1 to 65535",
        ),
        (
            WEB + "portLevelMtls: {65536: {mode: STRICT}}",
            "spec.portLevelMtls.65536",
            "'65536' is no port from 1 to 65535",
        ),
        (
            WEB + "portLevelMtls: {80: {mode: MAYBE}}",
            "spec.portLevelMtls.80.mode",
            "'MAYBE' is none of UNSET, DISABLE, PERMISSIVE, STRICT",
        ),
        (
            WEB + "portLevelMtls: {}",
            "spec.portLevelMtls",
            "is empty: name a port, or leave it out",
        ),
        (
            "portLevelMtls: {80: {mode: STRICT}}",
            "spec.portLevelMtls",
            "needs a selector: ports are of workloads, not of a namespace or the mesh",
        ),
        (
            'selector: {matchLabels: {app: "*"}}',
            "spec.selector.matchLabels",
            "app: * has a *: labels are compared whole",
        ),
    ],
)
def test_what_is_wrong_is_named(spec: str, field: str, message: str) -> None:
    assert (field, message) in [(f, m) for _, f, m in complaints(authentication(spec))]


def test_disable_is_taken_and_told_about() -> None:
    ((_, field, message),) = complaints(authentication("mtls: {mode: DISABLE}"))
    assert field == "spec.mtls.mode"
    assert message.startswith("DISABLE counts as PERMISSIVE")
