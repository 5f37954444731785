from __future__ import annotations

import pytest

from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    Mesh,
    authentication,
    deployment,
    workload_entry,
)

ROOT = "istio-system"
STRICT, PERMISSIVE = "mtls: {mode: STRICT}", "mtls: {mode: PERMISSIVE}"
UNSET, DISABLE = "mtls: {mode: UNSET}", "mtls: {mode: DISABLE}"
WEB = "selector: {matchLabels: {app: web}}"
STATIC = "istio-system/istio_converted_static_strict"
OWN = "shop/converted_peer_authentication_web"


def meant(*authentications: str) -> Mesh:
    mesh = Mesh(AMBIENT, *authentications, deployment("web"), deployment("other"))
    mesh.report()
    return mesh


def named(mesh: Mesh, app: str = "web") -> list[str]:
    """The policies that a Deployment's pod names."""
    (found,) = [w for w in mesh.workloads().values() if w.workload_name == app]
    return list(found.authorization_policies)


def levels(mesh: str, namespace: str, workload: str) -> list[str]:
    """PeerAuthentications at each level where something is said."""
    given = []
    if mesh:
        given.append(authentication(mesh, namespace=ROOT))
    if namespace:
        given.append(authentication(namespace))
    if workload:
        given.append(authentication(f"{WEB}\n{workload}", "web"))
    return given


@pytest.mark.parametrize(
    ("mesh", "namespace", "workload", "web", "other"),
    [
        ("", "", "", False, False),
        (STRICT, "", "", True, True),
        (STRICT, UNSET, UNSET, True, True),
        (STRICT, "{}", "", True, True),
        (STRICT, PERMISSIVE, "", False, False),
        (STRICT, DISABLE, "", False, False),
        (STRICT, PERMISSIVE, STRICT, True, False),
        (STRICT, "", PERMISSIVE, False, True),
        (STRICT, "", DISABLE, False, True),
        (PERMISSIVE, STRICT, "", True, True),
        (PERMISSIVE, STRICT, UNSET, True, True),
        (UNSET, UNSET, UNSET, False, False),
        (UNSET, "", STRICT, True, False),
        ("", STRICT, PERMISSIVE, False, True),
    ],
)
def test_the_narrowest_level_that_says_something_counts(
    mesh: str, namespace: str, workload: str, web: bool, other: bool
) -> None:
    view = meant(*levels(mesh, namespace, workload))
    assert named(view) == ([STATIC] if web else [])
    assert named(view, "other") == ([STATIC] if other else [])
    assert (STATIC in view.view.contents.policies) is any((mesh, namespace, workload))


@pytest.mark.parametrize(
    ("mesh", "namespace", "workload", "ports", "policies"),
    [
        ("", "", STRICT, "8080: {mode: PERMISSIVE}", [OWN]),
        ("", "", STRICT, "8080: {mode: DISABLE}", [OWN]),
        ("", "", STRICT, "8080: {mode: STRICT}", [STATIC]),
        ("", "", STRICT, "8080: {mode: UNSET}", [STATIC]),
        ("", "", PERMISSIVE, "8080: {mode: STRICT}", [OWN]),
        ("", "", PERMISSIVE, "8080: {mode: DISABLE}", []),
        (STRICT, "", UNSET, "8080: {mode: DISABLE}", [OWN]),
        (STRICT, "", UNSET, "8080: {mode: STRICT}", [STATIC]),
        (STRICT, PERMISSIVE, UNSET, "8080: {mode: STRICT}", [OWN]),
        ("", "", UNSET, "8080: {mode: STRICT}", [OWN]),
        ("", STRICT, "{}", "8080: {mode: PERMISSIVE}", [OWN]),
    ],
)
def test_ports_differ_from_what_holds_for_the_rest(
    mesh: str, namespace: str, workload: str, ports: str, policies: list[str]
) -> None:
    said = "" if workload == "{}" else workload
    view = meant(*levels(mesh, namespace, f"{said}\nportLevelMtls: {{{ports}}}"))
    assert named(view) == policies
    assert (OWN in view.view.contents.policies) is (OWN in policies)


def test_of_several_at_a_level_the_oldest_counts() -> None:
    mesh = meant(authentication(STRICT, "z"), deployment("late"))
    mesh.write(
        AMBIENT, authentication(PERMISSIVE, "a"), authentication(STRICT, "z"), deployment("web")
    )
    mesh.report()
    assert named(mesh) == [STATIC]
    said = "peerauthentication/shop/z is older, and only one counts at a level"
    assert f"metadata.name: not in force: {said}" in mesh.messages()
    mesh.write(AMBIENT, authentication(PERMISSIVE, "a"), deployment("web"))
    assert named(mesh) == []
    assert not [text for text in mesh.messages() if "older" in text]


def test_of_several_that_select_a_workload_the_oldest_counts() -> None:
    both = "selector: {matchLabels: {version: v1}}"
    mesh = meant(
        authentication(f"{WEB}\n{PERMISSIVE}", "first"),
        authentication(f"{both}\n{STRICT}", "second"),
    )
    assert (named(mesh), named(mesh, "other")) == ([], [STATIC])
    assert (
        "spec.selector: not in force for all: peerauthentication/shop/first is older, "
        "and only one counts at a level"
    ) in mesh.messages()


def test_a_selector_in_the_root_namespace_is_not_in_force() -> None:
    mesh = meant(authentication(f"{WEB}\n{STRICT}", namespace=ROOT))
    assert named(mesh) == []
    assert any(
        text.startswith("spec.selector: not in force: in istio-system")
        for text in mesh.messages()
    )


def test_a_selector_of_nobody_is_noticed() -> None:
    mesh = meant(authentication("selector: {matchLabels: {app: none}}\nmtls: {mode: STRICT}"))
    assert "spec.selector: no pod is selected: the policy holds for nobody" in mesh.messages()


def test_workloads_that_are_no_pods_are_meant_too() -> None:
    vm = workload_entry("address: 192.0.2.7\nlabels: {app: vm}")
    mesh = meant(authentication(STRICT), vm)
    found = mesh.address("Kubernetes/networking.istio.io/WorkloadEntry/shop/vm").workload
    assert list(found.authorization_policies) == [STATIC]
