"""Tables of hashes that are made while an older one is in force."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from waypoint.balancing.hashing import hash_bytes
from waypoint.balancing.policies import MaglevPolicy, RandomPolicy, RingHashPolicy
from waypoint.cluster import Cluster, Spot
from waypoint.cluster_settings import ClusterSettings

KEYS = [hash_bytes(b"%d" % number) for number in range(200)]


class Rig:
    """A cluster whose steps are made when a test says so."""

    def __init__(self, policy: MaglevPolicy | RingHashPolicy | RandomPolicy) -> None:
        self.steps: list[Callable[[], bool]] = []
        self.cluster = Cluster(
            "apps",
            "web",
            80,
            "web",
            now=lambda: 0.0,
            drawn=lambda: 0.5,
            later=self.steps.append,
        )
        self.cluster.configure(ClusterSettings(policy=policy))

    def place(self, *hosts: int) -> None:
        self.cluster.place({(f"10.0.0.{n}", 80): Spot() for n in hosts}, None)

    def finish(self) -> None:
        while self.steps:
            while not self.steps[0]():
                pass
            self.steps.pop(0)

    def picked(self) -> set[str]:
        """Whom the keys lead to, by the last number of their addresses."""
        found = [self.cluster.pick(0.5, key) for key in KEYS]
        return {member.host.rpartition(".")[2] for member in found if member is not None}


@pytest.mark.parametrize("policy", [MaglevPolicy(1009), RingHashPolicy(4096)])
def test_the_old_table_holds_until_the_next_is_there(
    policy: MaglevPolicy | RingHashPolicy,
) -> None:
    rig = Rig(policy)
    rig.place(1, 2)
    rig.finish()
    assert rig.picked() == {"1", "2"}
    rig.place(1, 2, 3)
    assert not rig.steps[0]()
    assert rig.picked() == {"1", "2"}
    rig.finish()
    assert rig.picked() == {"1", "2", "3"}


def test_who_has_left_gets_nothing_even_by_the_old_table() -> None:
    rig = Rig(MaglevPolicy(1009))
    rig.place(1, 2, 3)
    rig.finish()
    kept = {key: rig.cluster.pick(0.5, key) for key in KEYS}
    rig.place(1, 2)
    assert rig.picked() == {"1", "2"}
    for key, member in kept.items():
        if member is not None and member.users:
            assert rig.cluster.pick(0.5, key) is member
    rig.place(4)
    assert rig.picked() == set()
    rig.finish()
    assert rig.picked() == {"4"}


def test_what_changes_meanwhile_is_in_the_next() -> None:
    rig = Rig(MaglevPolicy(1009))
    rig.place(1)
    rig.finish()
    rig.place(2)
    rig.steps[0]()
    rig.place(3)
    assert len(rig.steps) == 1
    rig.finish()
    assert rig.picked() == {"3"}


def test_a_first_table_is_made_when_it_is_asked_for() -> None:
    rig = Rig(MaglevPolicy(1009))
    rig.place(1)
    rig.place(1, 2)
    assert rig.picked() == {"1", "2"}
    assert rig.steps[0]()


def test_other_policies_are_made_at_once() -> None:
    rig = Rig(RandomPolicy())
    rig.place(1)
    assert rig.picked() == {"1"}
    assert not rig.steps
