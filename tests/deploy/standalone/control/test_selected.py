from __future__ import annotations

from tests.deploy.standalone.control.helpers import AMBIENT, Mesh, deployment, documents, policy

WEB = "selector: {matchLabels: {app: web}}"
BOTH = "selector: {matchLabels: {app: web, version: v2}}"


def named(*policies: str) -> list[str]:
    """The policies that the pod of Deployment web names."""
    mesh = Mesh(AMBIENT, *policies, deployment("web"), deployment("other"))
    mesh.report()
    found = {w.workload_name: list(w.authorization_policies) for w in mesh.workloads().values()}
    assert not found["other"]
    return found["web"]


def test_selectors_of_the_namespace_and_of_the_root() -> None:
    assert named(
        policy(WEB, name="z"),
        policy(WEB, name="root", namespace="istio-system"),
        policy(WEB, name="a"),
        policy(WEB, name="foreign", namespace="elsewhere"),
        policy(BOTH, name="narrow"),
        policy("{}", name="everyone"),
    ) == ["istio-system/root", "shop/a", "shop/z"]


def test_what_is_not_sent_is_not_named() -> None:
    assert named(policy(f"action: AUDIT\n{WEB}")) == []


def test_a_policy_that_selects_nobody_is_noticed() -> None:
    mesh = Mesh(AMBIENT, policy(BOTH), deployment("web"))
    mesh.report()
    assert "spec.selector: no pod is selected: the policy holds for nobody" in mesh.messages()


def test_a_bad_edit_leaves_the_policy_that_was() -> None:
    mesh = Mesh(AMBIENT, policy(WEB), deployment("web"))
    mesh.report()
    before = mesh.view.contents.policies["shop/rules"]
    mesh.write(documents(AMBIENT, policy(WEB + "\nrules: [{form: []}]"), deployment("web")))
    assert mesh.view.contents.policies["shop/rules"] == before
    assert "spec.rules[0].form: unknown field: did you mean from?" in mesh.messages()
