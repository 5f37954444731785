"""Policy sets of one chunk, written by hand."""

from __future__ import annotations

from bpf.layout import Chunk, ChunkFlag, Guard, GuardFlag, IdentityRulesKey, LocalAddress, Rules
from tests.bpf.engine import SERVER, Engine, packed
from tests.support.netns import Netns

FIRST = 5


def bits(*rules: int) -> bytes:
    return sum(1 << rule for rule in rules).to_bytes(128, "little")


def chunk(
    *,
    deny: tuple[int, ...] = (),
    allow: tuple[int, ...] = (),
    dry_deny: tuple[int, ...] = (),
    dry_allow: tuple[int, ...] = (),
    flags: int = 0,
) -> Chunk:
    rules = (*deny, *allow, *dry_deny, *dry_allow)
    flags |= ChunkFlag.ALLOWS if allow else 0
    flags |= ChunkFlag.DRY if dry_deny or dry_allow else 0
    flags |= ChunkFlag.DRY_ALLOWS if dry_allow else 0
    return Chunk(
        *(bits(*rules), bits(*deny), bits(*allow), bits(*dry_deny), bits(*dry_allow)),
        bits(*rules),
        flags,
        max(rules, default=0) // 64 + 1,
    )


def guard(mesh: Engine, pod: Netns, *records: Chunk, identity_port: int = 0) -> None:
    """Guard a pod's addresses by a set of these chunks."""
    for number, record in enumerate(records, start=FIRST):
        mesh.maps.chunks.put(number, record)
    for address in (pod.v4, pod.v6):
        entry = Guard(SERVER, FIRST if records else 0, identity_port)
        mesh.maps.guards.put(LocalAddress(packed(address)), entry)


def refuse(mesh: Engine, pod: Netns) -> None:
    """Guard a pod's addresses by nothing but a refusal."""
    for address in (pod.v4, pod.v6):
        entry = Guard(SERVER, 0, 0, GuardFlag.REFUSE)
        mesh.maps.guards.put(LocalAddress(packed(address)), entry)


def satisfies(mesh: Engine, identity: int, *rules: int, number: int = FIRST) -> None:
    """What a source of an identity satisfies."""
    mesh.maps.chunk_identities.put(IdentityRulesKey(number, identity), Rules(bits(*rules)))


def hits(mesh: Engine) -> dict[tuple[int, int, int], int]:
    """What was counted: chunk, rule, verdict → times."""
    return {(h.chunk, h.rule, h.verdict): count for h, count in mesh.maps.hits.items()}
