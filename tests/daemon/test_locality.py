from __future__ import annotations

import pytest

from daemon.locality import NOWHERE, Localities, Vantage, near
from tests.daemon.meshes import balanced, uid_of, workload
from ztunnel_compat.model import Locality, Workload

HERE = Vantage("", "n1", "Kubernetes", Locality("r", "z", "s"))


THERE = [
    workload("zone", where="r/z/x"),
    workload("region", where="r/x/x"),
    workload("away", where="x/x/x"),
]


@pytest.mark.parametrize(
    ("mode", "there", "expected"),
    [
        ("FAILOVER", THERE, ["zone"]),
        ("FAILOVER", THERE[1:], ["region"]),
        ("FAILOVER", THERE[2:], ["away"]),
        ("FAILOVER", [], []),
        ("STRICT", THERE, []),
        ("STRICT", [*THERE, workload("all", where="r/z/s")], ["all"]),
    ],
)
def test_near(mode: str, there: list[Workload], expected: list[str]) -> None:
    preference = balanced(mode, "REGION", "ZONE", "SUBZONE")
    assert near(preference, there, HERE) == {uid_of(name) for name in expected}


def test_near_without_a_mode_is_everywhere() -> None:
    assert near(balanced("UNSPECIFIED", "REGION"), THERE, HERE) is None
    assert near(balanced("PASSTHROUGH", "REGION"), THERE, HERE) is None


def test_the_node_is_where_most_of_its_workloads_say() -> None:
    a, b = Locality("r", "a"), Locality("r", "b")
    said = Localities()
    assert said.current() == NOWHERE
    said.note("1", b)
    assert said.current() == b
    said.note("2", a)
    assert said.current() == a  # equally many: the first in order
    said.note("3", b)
    said.note("4", NOWHERE)
    assert said.current() == b
    said.note("1", NOWHERE)
    said.note("3", NOWHERE)
    assert said.current() == a
    said.note("2", NOWHERE)
    assert said.current() == NOWHERE
    assert not said.said
