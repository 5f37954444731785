from __future__ import annotations

from bpf.codecs import U64
from bpf.layout import Hit, RuleIndex, Verdict
from bpf.maps import HIT
from bpf.tables import MemoryTable
from daemon.policies.totals import PolicyTotal, Totals


def name(chunk: int, rule: int) -> str:
    return "" if rule == RuleIndex.NONE else f"app/p{rule}"


def hits_of(*counted: tuple[Hit, int]) -> MemoryTable[Hit, int]:
    hits = MemoryTable("hits", 100, HIT, U64)
    for hit, count in counted:
        hits.put(hit, count)
    return hits


def test_chunks_count_under_the_names_of_their_policies():
    hits = hits_of(
        (Hit(1, 0, Verdict.DENIED), 3),
        (Hit(2, 0, Verdict.DENIED), 4),
        (Hit(2, 1, Verdict.DRY_DENIED), 1),
        (Hit(2, RuleIndex.NONE, Verdict.NOT_ALLOWED), 2),
    )
    assert Totals(hits, name).rows() == [
        PolicyTotal("", Verdict.NOT_ALLOWED, 2),
        PolicyTotal("app/p0", Verdict.DENIED, 7),
        PolicyTotal("app/p1", Verdict.DRY_DENIED, 1),
    ]


def test_nothing_is_lost_with_a_chunk():
    hits = hits_of((Hit(1, 0, Verdict.DENIED), 3), (Hit(2, 0, Verdict.DENIED), 4))
    totals = Totals(hits, name)
    totals.fold([1])
    assert dict(hits.items()) == {Hit(2, 0, Verdict.DENIED): 4}
    assert totals.rows() == [PolicyTotal("app/p0", Verdict.DENIED, 7)]
    totals.fold([2])
    assert totals.rows() == [PolicyTotal("app/p0", Verdict.DENIED, 7)]


def test_connections_that_were_closed_count_apart():
    totals = Totals(hits_of((Hit(1, 0, Verdict.DENIED), 3)), name)
    totals.close("app/p0")
    totals.close("")
    totals.close("app/p0")
    assert totals.rows() == [
        PolicyTotal("app/p0", Verdict.DENIED, 3),
        PolicyTotal("", Verdict.NOT_ALLOWED, 1, closed=True),
        PolicyTotal("app/p0", Verdict.DENIED, 2, closed=True),
    ]
