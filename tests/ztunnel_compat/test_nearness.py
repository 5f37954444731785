from __future__ import annotations

import pytest

from tests.daemon.meshes import workload
from ztunnel_compat.model import Locality, Scope, Workload
from ztunnel_compat.nearness import rank

HERE = Workload("here", node="n1", cluster_id="Kubernetes", locality=Locality("r", "z", "s"))
ZONES = (Scope.REGION, Scope.ZONE, Scope.SUBZONE)


@pytest.mark.parametrize(
    ("what", "preference", "there", "expected"),
    [
        ("everything shared", ZONES, workload("a", where="r/z/s"), 3),
        ("counted up to the first that isn't", ZONES, workload("a", where="r/x/s"), 1),
        ("nothing after a mismatch counts", ZONES, workload("a", where="x/z/s"), 0),
        ("a node", (Scope.NODE,), workload("a", node="n1"), 1),
        ("another node", (Scope.NODE,), workload("a", node="n2"), 0),
        ("a cluster", (Scope.CLUSTER,), workload("a"), 1),
        ("another cluster", (Scope.CLUSTER,), workload("a", cluster_id="c2"), 0),
        (
            "the network comes first",
            (Scope.NETWORK, Scope.ZONE),
            workload("a", where="r/z/s"),
            2,
        ),
        ("no preference", (), workload("a"), 0),
        ("what means nothing matches nothing", (Scope.UNSPECIFIED,), workload("a"), 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rank(what: str, preference: tuple[Scope, ...], there: Workload, expected: int) -> None:
    assert rank(preference, HERE, there) == expected, what


def test_nobody_knows_where_the_client_is() -> None:
    """Two empty values are equal, as in ztunnel."""
    unknown = Workload("here", node="n1")
    assert rank(ZONES, unknown, workload("a")) == 3
    assert rank(ZONES, unknown, workload("a", where="r/z/s")) == 0
