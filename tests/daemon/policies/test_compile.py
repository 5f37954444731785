"""A policy set as bits, and the kernel against the reference evaluator."""

from __future__ import annotations

import pytest

from bpf.layout import ChunkFlag
from daemon.policies.compile import TooLargeError, bits, compile_set
from tests.bpf.engine import Engine
from tests.daemon.policies.differential import compare
from tests.ztunnel_compat.policies import exact, policy, when
from ztunnel_compat.policy import Action, Match

A = Match(namespaces=(exact("a"),))
B = Match(namespaces=(exact("b"),))
PORT = Match(destination_ports=(80,))


@pytest.mark.parametrize(
    ("rules", "count"),
    [
        ((), 0),
        (((),), 1),
        ((((),),), 1),
        ((((Match(),),),), 0),
        ((((A, Match()),),), 1),
        ((((A, B),),), 2),
        ((((A, B), (PORT,)),), 2),
        ((((A, B), (A, B, PORT)), ((A,),)), 7),
    ],
)
def test_alternatives_are_spread_out(rules, count):
    one = policy("p", *rules)
    assert bits(one) == count
    compiled = compile_set([one], 1)
    assert len(compiled.rules) == count
    assert len(compiled.chunks) == 1


def test_chunks_use_what_their_rules_look_at():
    def flags(*rules, **fields):
        return compile_set([policy("p", *rules, **fields)], 1).chunks[0].record.flags

    assert flags() == ChunkFlag.ALLOWS
    assert flags(()) == ChunkFlag.ALLOWS
    assert flags(((A,),), action=Action.DENY) == ChunkFlag.IDENTITIES
    assert flags(((PORT,),), action=Action.DENY) == ChunkFlag.PORTS
    assert flags(((PORT,),), dry_run=True) == (
        ChunkFlag.PORTS | ChunkFlag.DRY | ChunkFlag.DRY_ALLOWS
    )


def test_a_set_that_says_nothing_has_no_chunks():
    assert compile_set([], 1).chunks == ()
    assert compile_set([policy("p", action=Action.DENY)], 1).chunks == ()
    assert compile_set([policy("p", action=Action.DENY, dry_run=True)], 1).chunks == ()


def test_sets_are_cut_into_chunks_and_rules_keep_their_names():
    ports = [when(destination_ports=(n,)) for n in range(1, 1500)]
    compiled = compile_set([policy("a", *ports[:1000]), policy("b", *ports[1000:])], 2)
    first, second = compiled.chunks
    assert first.record.flags & ChunkFlag.MORE
    assert not second.record.flags & ChunkFlag.MORE
    assert (first.record.words, second.record.words) == (16, 8)
    assert compiled.policy(0, 999) == "app/a"
    assert compiled.policy(0, 1000) == "app/b"
    assert compiled.policy(1, 1498 - 1024) == "app/b"
    assert compiled.policy(1, 1499 - 1024) == ""
    assert compiled.policy(0, 65535) == ""


def test_a_set_that_is_too_large_is_an_error_before_it_is_spread_out():
    clause = tuple(Match(destination_ports=(n,)) for n in range(1, 101))
    with pytest.raises(TooLargeError, match="1000000000000000000 rules, more than the 2048"):
        compile_set([policy("p", (clause,) * 9)], 2)


def test_the_kernel_agrees_with_the_reference(mesh: Engine):
    assert compare(mesh, seed=1, sets=100, connections=50) > 3000


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_the_kernel_agrees_with_the_reference_at_length(mesh: Engine, seed: int):
    assert compare(mesh, seed, sets=200, connections=50) > 7500
