from __future__ import annotations

from tests.ztunnel_compat.policies import policy, when
from ztunnel_compat.model import Workload
from ztunnel_compat.policy import Action, PolicyScope, UnusablePolicy
from ztunnel_compat.policy_state import PolicyState, Selection
from ztunnel_compat.xds import Rejection

GLOBAL = policy("all", namespace="istio-system", scope=PolicyScope.GLOBAL)
MINE = policy("mine")
OTHERS = policy("mine", namespace="other")
NAMED = policy("named", scope=PolicyScope.WORKLOAD_SELECTOR)


def workload(*names: str, namespace: str = "app") -> Workload:
    return Workload("uid", namespace=namespace, authorization_policies=names)


def state_of(*policies: object) -> PolicyState:
    state = PolicyState()
    state.apply(policies, ())
    return state


def test_what_applies_is_global_of_the_namespace_or_named():
    state = state_of(GLOBAL, MINE, OTHERS, NAMED)
    assert state.select(workload()) == Selection((MINE, GLOBAL))
    assert state.select(workload("app/named")) == Selection((MINE, NAMED, GLOBAL))
    assert state.select(workload(namespace="third")) == Selection((GLOBAL,))


def test_a_policy_that_is_named_and_selects_counts_once():
    assert state_of(MINE).select(workload("app/mine", "app/mine")).policies == (MINE,)


def test_what_is_named_and_not_there_is_missing():
    assert state_of().select(workload("app/a")) == Selection((), missing=("app/a",))


def test_changes_and_removals():
    state = PolicyState()
    assert state.apply([MINE, NAMED], ()) == (frozenset({"app/mine", "app/named"}), ())
    assert state.apply([MINE], ()) == (frozenset(), ())
    wider = policy("mine", namespace="app", scope=PolicyScope.GLOBAL)
    assert state.apply([wider], ["app/named", "app/unheard-of"])[0] == {"app/mine", "app/named"}
    assert state.select(workload(namespace="other")).policies == (wider,)
    state.apply((), ["app/mine"])
    assert state.select(workload(namespace="other")).policies == ()
    assert state.scoped == {}


def unusable(key: str, scope: PolicyScope | None) -> UnusablePolicy:
    return UnusablePolicy(key, scope, "action: 7")


def test_an_unusable_policy_selects_as_far_as_it_says():
    state = PolicyState()
    named = unusable("app/named", PolicyScope.WORKLOAD_SELECTOR)
    mine = unusable("app/mine", PolicyScope.NAMESPACE)
    everyone = unusable("x/all", None)
    changed, rejected = state.apply([named, mine, everyone], ())
    assert changed == {"app/named", "app/mine", "x/all"}
    assert rejected[0] == Rejection(
        "app/named", "action: 7; workloads that it selects refuse all connections"
    )
    assert state.select(workload("app/named")).unusable == (mine, named, everyone)
    assert state.select(workload()).unusable == (mine, everyone)
    assert state.select(workload(namespace="other")).unusable == (everyone,)
    state.apply([MINE], ["x/all"])
    assert state.select(workload()) == Selection((MINE,))


def test_a_good_version_stays_in_force():
    state = state_of(MINE)
    changed, rejected = state.apply([unusable("app/mine", PolicyScope.NAMESPACE)], ())
    assert changed == frozenset()
    assert rejected == (
        Rejection("app/mine", "action: 7; its last good version stays in force"),
    )
    assert state.select(workload()) == Selection((MINE,))


def test_a_good_version_that_goes_in_the_same_delta_is_no_longer_in_force():
    state = state_of(MINE)
    state.apply([unusable("app/mine", PolicyScope.NAMESPACE)], ["app/mine"])
    assert [p.key for p in state.select(workload()).unusable] == ["app/mine"]


def test_dump():
    state = state_of(
        policy("deny", when(destination_ports=(80,)), action=Action.DENY),
        unusable("app/bad", None),
    )
    assert state.dump() == {
        "policies": {
            "app/deny": {
                "name": "deny",
                "namespace": "app",
                "scope": "NAMESPACE",
                "action": "DENY",
                "rules": [[[{"destination_ports": [80]}]]],
            }
        },
        "unusablePolicies": {"app/bad": "action: 7"},
    }
