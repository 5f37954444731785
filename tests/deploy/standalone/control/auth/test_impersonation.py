from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from deploy.standalone.control.auth.impersonation import identity_for
from deploy.standalone.control.auth.places import Caller
from deploy.standalone.control.auth.tokens import Claims
from deploy.standalone.control.errors import ForbiddenError, RequestError
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    SETTINGS,
    Mesh,
    deployment,
    workload_entry,
)
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


def test_an_agent_names_workload_entries_that_have_its_nodes_addresses() -> None:
    members = {"node1": frozenset({ip_address("10.0.0.1")}), "node2": frozenset()}
    mesh = Mesh(
        workload_entry("{address: 10.0.0.1, serviceAccount: clerk}"),
        workload_entry("{address: 10.0.0.1}", name="plain"),
        workload_entry("{address: 10.0.0.7, serviceAccount: other}", name="elsewhere"),
        settings=replace(SETTINGS, members=members),
    )
    # Whatever an agent says that it serves.
    elsewhere = "Kubernetes/networking.istio.io/WorkloadEntry/shop/elsewhere"
    mesh.carried = replace(mesh.carried, members={"node1": frozenset({elsewhere})})
    view = mesh.derive()
    for account in ("clerk", "default"):
        asked = f"spiffe://td/ns/shop/sa/{account}"
        assert identity_for(AGENT, asked, "td", view) == Identity.parse(asked)
        with pytest.raises(ForbiddenError, match="no WorkloadEntry of it has an address"):
            identity_for(caller("tandem-system", "ztunnel", "node2"), asked, "td", view)
    with pytest.raises(ForbiddenError, match="is on node node1"):
        identity_for(AGENT, "spiffe://td/ns/shop/sa/other", "td", view)


def test_what_is_no_identity() -> None:
    with pytest.raises(RequestError, match="ImpersonatedIdentity: 'x' is no workload identity"):
        identity_for(AGENT, "x", "td", VIEW)
