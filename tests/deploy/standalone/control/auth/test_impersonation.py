from __future__ import annotations

from ipaddress import ip_address

import pytest

from deploy.standalone.control.auth.impersonation import identity_for
from deploy.standalone.control.auth.places import Caller
from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import ForbiddenError, RequestError
from tests.deploy.standalone.control.helpers import AMBIENT, Mesh, deployment
from ztunnel_compat.identity import Identity

VIEW = Mesh(AMBIENT, deployment("web")).view
WEB = "spiffe://td/ns/shop/sa/default"


def caller(namespace: str, account: str, node: str = "node1") -> Caller:
    return Caller(Claims(namespace, account, "p", "u", node), ip_address("10.0.0.1"))


AGENT = caller("tandem-system", "ztunnel")


def test_who_names_nobody_gets_its_own() -> None:
    assert identity_for(AGENT, "", "td", VIEW) == Identity("td", "tandem-system", "ztunnel")
    shop = caller("shop", "default")
    assert identity_for(shop, "", "td", VIEW) == Identity.parse(WEB)
    assert identity_for(shop, WEB, "td", VIEW) == Identity.parse(WEB)


def test_an_agent_names_who_is_on_its_node() -> None:
    assert identity_for(AGENT, WEB, "td", VIEW) == Identity.parse(WEB)


@pytest.mark.parametrize(
    ("who", "asked", "reason"),
    [
        (caller("tandem-system", "ztunnel", "node2"), WEB, "is on node node2"),
        (caller("shop", "other"), WEB, "only a node's agent"),
        (caller("shop", "ztunnel"), WEB, "only a node's agent"),
        (AGENT, WEB.replace("td", "elsewhere"), "trust domain is 'td'"),
        (AGENT, WEB.replace("shop", "kube-system"), "is on node node1"),
        (AGENT, WEB.replace("default", "admin"), "is on node node1"),
    ],
)
def test_nobody_else(who: Caller, asked: str, reason: str) -> None:
    with pytest.raises(ForbiddenError) as caught:
        identity_for(who, asked, "td", VIEW)
    assert reason in str(caught.value)


def test_what_is_no_identity() -> None:
    with pytest.raises(RequestError, match="ImpersonatedIdentity: 'x' is no workload identity"):
        identity_for(AGENT, "x", "td", VIEW)
