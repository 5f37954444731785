"""What is sent of PeerAuthentications, and what the reference evaluator makes of it."""

from __future__ import annotations

import pytest

from deploy.standalone.control.authentication import Standing, differing
from deploy.standalone.control.istioapi import MtlsMode, PeerAuthentication
from deploy.standalone.control.problems import Origin
from deploy.standalone.control.translate.authentications import (
    converted,
    names_of,
    static_strict,
)
from proto import authorization_pb2 as pb
from tests.ztunnel_compat.policies import connection
from ztunnel_compat.policy import Policy
from ztunnel_compat.policy_decode import decode_policy
from ztunnel_compat.rbac import evaluate

STRICT, PERMISSIVE = MtlsMode.STRICT, MtlsMode.PERMISSIVE
CALLER = "spiffe://cluster.local/ns/shop/sa/web"


def own(**ports: MtlsMode) -> PeerAuthentication:
    numbers = {int(name.lstrip("p")): mode for name, mode in ports.items()}
    return PeerAuthentication(
        "shop", "web", {"app": "web"}, MtlsMode.UNSET, numbers, Origin("", 0)
    )


def refused(message: pb.Authorization, identity: str | None, *ports: int) -> list[int]:
    """The ports where the reference evaluator refuses a caller."""
    policy = decode_policy(f"{message.namespace}/{message.name}", message.SerializeToString())
    assert isinstance(policy, Policy)
    verdicts = {port: evaluate([policy], connection(identity, port=port)) for port in ports}
    return [port for port, verdict in verdicts.items() if not verdict.allowed]


def test_strict_refuses_who_has_no_identity() -> None:
    policy = static_strict()
    assert (policy.namespace, policy.scope) == ("istio-system", pb.WORKLOAD_SELECTOR)
    assert refused(policy, None, 80, 443) == [80, 443]
    assert refused(policy, CALLER, 80, 443) == []


def test_a_port_that_is_less_strict_is_an_exception() -> None:
    each = own(p80=PERMISSIVE, p81=MtlsMode.DISABLE, p82=STRICT)
    policy = converted(each, Standing(STRICT, each, each))
    assert refused(policy, None, 80, 81, 82, 83) == [82, 83]
    assert refused(policy, CALLER, 80, 81, 82, 83) == []
    assert names_of(Standing(STRICT, each, each)) == ("shop/converted_peer_authentication_web",)


def test_a_port_that_is_stricter_stands_alone() -> None:
    each = own(p80=STRICT, p81=STRICT, p82=PERMISSIVE)
    policy = converted(each, Standing(PERMISSIVE, None, each))
    assert refused(policy, None, 80, 81, 82, 83) == [80, 81]
    assert refused(policy, CALLER, 80, 81, 82, 83) == []


@pytest.mark.parametrize("mode", [STRICT, PERMISSIVE])
def test_ports_that_say_the_same_differ_in_nothing(mode: MtlsMode) -> None:
    assert differing(own(p80=mode, p81=MtlsMode.UNSET), mode) == {}
