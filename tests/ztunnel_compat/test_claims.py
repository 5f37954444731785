from __future__ import annotations

from ztunnel_compat.claims import Claims


def test_the_last_to_claim_holds():
    claims: Claims[int] = Claims()
    claims.add((1, 2), "a")
    claims.add((2, 3), "b")
    assert [claims.holder(key) for key in (1, 2, 3, 4)] == ["a", "b", "b", None]
    assert claims.all(2) == ("a", "b")
    assert claims.all(4) == ()


def test_a_claim_dropped_by_another_leaves_the_holder():
    claims: Claims[int] = Claims()
    claims.add((1,), "a")
    claims.add((1,), "b")
    assert claims.drop((1,), "a") == set()
    assert claims.holder(1) == "b"


def test_a_dropped_key_falls_back_to_who_had_it_before():
    claims: Claims[int] = Claims()
    for name in ("a", "b", "c"):
        claims.add((1,), name)
    assert claims.drop((1,), "c") == {"b"}
    assert claims.drop((1,), "b") == {"a"}
    assert claims.drop((1,), "a") == set()
    assert claims.claimants == {}
