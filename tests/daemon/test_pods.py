from __future__ import annotations

from bpf.layout import Pod, PodFlag
from daemon.desired import Desired
from daemon.scope import Scope
from tests.daemon.meshes import (
    HERE,
    cookie,
    desired_of,
    key_of,
    pods,
    push,
    service,
    state_of,
    uid_of,
    workload,
)
from ztunnel_compat.identity import Identity
from ztunnel_compat.names import name_hash
from ztunnel_compat.state import WorkloadState

GATE = name_hash(key_of("gate"))
ZDS = Identity("cluster.local", "app", "from-zds")
XDS = Identity("example.org", "app", "from-xds")
EVERYWHERE = PodFlag.OWN_ADDRESSES | PodFlag.RANGES


def test_an_identity_is_known_at_once_and_better_later() -> None:
    state = state_of()
    desired = desired_of(state)
    desired.enroll(7, uid_of("a"), Scope(), ZDS)
    name = name_hash(uid_of("a"))
    assert pods(desired.content.pods) == {
        7: Pod(name, 0, name_hash(str(ZDS)), name_hash("app"), 0)
    }
    told = workload(
        "a", "10.0.0.1", trust_domain=XDS.trust_domain, service_account=XDS.service_account
    )
    scope = push(state, desired, told)
    assert pods(desired.content.pods)[7].identity == name_hash(str(XDS))
    assert scope.pods == {cookie(7)}
    push(state, desired, gone=(uid_of("a"),))
    assert pods(desired.content.pods)[7].identity == name_hash(str(ZDS))


def test_what_was_adopted_is_believed_until_the_first_push_is_complete() -> None:
    name = name_hash(uid_of("g"))
    before = Pod(name, GATE, 5, 6, PodFlag.RANGES)
    state = WorkloadState()
    desired = Desired(
        state,
        HERE,
        {"pods": {cookie(8): before.pack(), cookie(9): Pod(1, GATE).pack()}, "members": {}},
    )
    scope = Scope()
    desired.enroll(8, uid_of("g"), scope, ZDS)
    desired.enroll(9, uid_of("g"), scope, ZDS)
    # A pod that is new looks everywhere: nobody knows yet what there is.
    new = Pod(name, 0, name_hash(str(ZDS)), name_hash("app"), EVERYWHERE)
    assert pods(desired.content.pods) == {8: before, 9: new}
    desired.settle(scope)
    settled = Pod(name, 0, name_hash(str(ZDS)), name_hash("app"), 0)
    assert pods(desired.content.pods) == {8: settled, 9: settled}


def test_a_pod_that_is_dismissed_is_forgotten() -> None:
    desired = desired_of(state_of(), {7: uid_of("a"), 8: uid_of("a")})
    desired.dismiss(7, Scope())
    assert desired.pods.enrolments_of == {uid_of("a"): {("pods", 8)}}
    desired.dismiss(8, Scope())
    assert not desired.pods.enrolments_of
    assert not desired.pods.uid_of
    assert not desired.pods.identity_of


def test_flags_follow_the_namespace_that_zds_told() -> None:
    state = state_of(service("web", "10.96.0.1", namespace_visible_only=True))
    desired = desired_of(state)
    desired.enroll(7, uid_of("a"), Scope(), ZDS)
    desired.enroll(8, uid_of("b"), Scope(), Identity("cluster.local", "shop", "x"))
    assert pods(desired.content.pods)[7].flags == PodFlag.OWN_ADDRESSES
    assert pods(desired.content.pods)[8].flags == 0
