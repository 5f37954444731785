from __future__ import annotations

from daemon.policies.choice import Apply, Keep, Refuse, choose
from tests.ztunnel_compat.policies import policy
from ztunnel_compat.policy import PolicyScope, UnusablePolicy
from ztunnel_compat.policy_state import Selection

ONE = policy("one")
BAD = UnusablePolicy("app/bad", PolicyScope.NAMESPACE, "action: 7")


def test_all_that_select_it_apply():
    assert choose(Selection((ONE,)), adopted=False) == Apply((ONE,))
    assert choose(Selection(()), adopted=True) == Apply(())


def test_until_all_have_arrived_what_is_in_force_stays():
    choice = choose(Selection((ONE,), missing=("app/a", "app/b")), adopted=False)
    assert choice == Keep("not sent yet: policy app/a, app/b", waiting=True)


def test_an_unusable_policy_fails_closed():
    reason = "policy app/bad can't be used: action: 7"
    assert choose(Selection((ONE,), unusable=(BAD,)), adopted=False) == Refuse(reason)
    both = Selection((ONE,), missing=("app/a",), unusable=(BAD,))
    assert choose(both, adopted=False) == Refuse(reason)


def test_an_unusable_policy_leaves_what_an_earlier_process_had():
    choice = choose(Selection((ONE,), unusable=(BAD,)), adopted=True)
    assert isinstance(choice, Keep)
