"""Asks the kernel what the reference evaluator is asked, and compares."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator

from bpf.addresses import mapped
from bpf.layout import Flow, FlowKey, Guard, LocalAddress, Verdict
from daemon.policies.compile import compile_set
from daemon.policies.identities import identity_hash
from daemon.policies.tables import Tables, WrittenSet
from tests.bpf.engine import Engine
from tests.bpf.prog_run import LookupProgram
from tests.ztunnel_compat.policies import RandomPolicies
from ztunnel_compat.policy import Policy
from ztunnel_compat.rbac import Connection, Decision, Reason, evaluate

SET_CHUNKS = 16
SOURCE_PORT = 40000


class Kernel:
    """The kernel's decision on one policy set after the other."""

    def __init__(self, engine: Engine) -> None:
        self.maps = engine.maps
        self.tables = Tables(engine.maps)
        self.program = LookupProgram(engine.place.pin_dir / "progs" / "sk_lookup")
        self.identities = RandomPolicies(0).identities()

    @contextlib.contextmanager
    def holding(self, policies: tuple[Policy, ...]) -> Iterator[WrittenSet]:
        """A set in the maps, guarding all addresses; port 0 of no policy: none."""
        compiled = compile_set(policies, SET_CHUNKS)
        written = WrittenSet(0, compiled)
        if compiled.chunks:
            for part in self.tables.write(compiled, self.identities):
                written = part
        guard = Guard(workload=1, policy=written.number)
        for text in RandomPolicies.ADDRESSES:
            address = mapped(ipaddress.ip_address(text).packed)
            self.maps.guards.put(LocalAddress(address), guard)
        try:
            yield written
        finally:
            self.tables.remove(written)

    def decide(self, written: WrittenSet, connection: Connection) -> list[object]:
        """Whether a connection passes, then what was counted: verdicts and policies."""
        source, destination = mapped(connection.source), mapped(connection.destination)
        key = FlowKey(source, destination, SOURCE_PORT, connection.port)
        if connection.identity is not None:
            self.maps.flows.put(key, Flow(identity=identity_hash(connection.identity)))
        passes = self.program.passes(source, SOURCE_PORT, destination, connection.port)
        if connection.identity is not None:
            self.maps.flows.delete(key)
        counted = []
        for hit, count in list(self.maps.hits.items()):
            self.maps.hits.delete(hit)
            name = written.compiled.policy(hit.chunk - written.number, hit.rule)
            counted.append((Verdict(hit.verdict).name, name, count))
        return [passes, *sorted(counted)]


def expected(policies: tuple[Policy, ...], connection: Connection) -> list[object]:
    """The same by the reference evaluator."""
    verdict = evaluate(policies, connection)
    counted = [] if verdict.allowed else [(enforced_name(verdict.enforced), verdict.enforced)]
    trial = verdict.dry_run
    if trial is not None and trial.reason is not Reason.NO_POLICY:
        counted.append((f"DRY_{enforced_name(trial)}", trial))
    return [verdict.allowed, *sorted((name, d.policy, 1) for name, d in counted)]


def enforced_name(decision: Decision) -> str:
    """A decision as the kernel calls it."""
    return decision.reason.name


def compare(engine: Engine, seed: int, sets: int, connections: int) -> int:
    """Compare on generated cases; how many there were."""
    kernel = Kernel(engine)
    random = RandomPolicies(seed)
    cases = 0
    for _ in range(sets):
        policies = random.policies()
        with kernel.holding(policies) as written:
            for _ in range(connections):
                connection = random.connection()
                if connection.port == 0:
                    continue  # passes: nobody can listen there
                seen = kernel.decide(written, connection)
                assert seen == expected(policies, connection), (policies, connection)
                cases += 1
    kernel.program.close()
    return cases
