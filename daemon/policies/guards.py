"""The guards in the kernel's maps: what stands at which local address, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bpf.addresses import mapped
from bpf.errors import MapFullError
from bpf.layout import Guard, GuardFlag, LocalAddress
from bpf.maps import Maps
from daemon import content
from daemon.policies.standing import Standing
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash


class Guards:
    """Guards by address and by workload (the hash of its uid), as the maps hold them.

    make_room: asked where the map is full; whether there is room now.
    """

    def __init__(self, maps: Maps, network: str, make_room: Callable[[], bool]) -> None:
        self.maps = maps
        self.network = network
        self.make_room = make_room
        self.guards: dict[bytes, Guard] = {k.address: g for k, g in maps.guards.items()}
        self.addresses: dict[int, set[bytes]] = {}
        for address, guard in self.guards.items():
            self.addresses.setdefault(guard.workload, set()).add(address)

    def standings(self) -> dict[int, Standing]:
        """What the guards say that an earlier process left, by workload."""
        return {
            guard.workload: Standing(
                guard.policy, guard.flags & ~GuardFlag.PARTED, adopted=True
            )
            for guard in self.guards.values()
        }

    def named(self) -> set[int]:
        """The first numbers of the policy sets that guards name."""
        return {guard.policy for guard in self.guards.values()}

    def parted(self) -> set[int]:
        """The workloads whose guards are kept though no pod of theirs is enrolled."""
        return {g.workload for g in self.guards.values() if g.flags & GuardFlag.PARTED}

    def write(
        self, workload: Workload, standing: Standing, *, member: bool, parted: bool
    ) -> list[MapFullError]:
        """Write the guards of a workload's addresses, and delete those it lost.

        member: its processes share the node's addresses; it has one guard, of its own;
        parted: it has no enrolled pod. Answers with an error for each address that has
        none now.
        """
        name = name_hash(workload.uid)
        tunnel = workload.application_tunnel
        guard = Guard(
            workload=name,
            policy=standing.policy,
            identity_port=tunnel.port if tunnel else 0,
            flags=standing.flags | (GuardFlag.PARTED if parted else 0),
        )
        wanted = {mapped(a) for a in content.pod_addresses(workload, self.network)}
        if member:
            self.maps.member_guards.put(name, guard)
            wanted = set()
        errors = []
        for address in sorted(wanted):
            if self.guards.get(address) != guard:
                try:
                    self.put(address, guard)
                    self.addresses.setdefault(name, set()).add(address)
                except MapFullError as error:
                    errors.append(error)
        for address in self.addresses.get(name, set()) - wanted:
            self.unguard(address, name)
        return errors

    def put(self, address: bytes, guard: Guard) -> None:
        """Write a guard; those of parted workloads give way. Raises MapFullError."""
        try:
            self.maps.guards.put(LocalAddress(address), guard)
        except MapFullError:
            if not self.make_room():
                raise
            self.maps.guards.put(LocalAddress(address), guard)
        self.guards[address] = guard

    def mark(self, workload: int, *, parted: bool) -> None:
        """Mark a workload's guards as parted or in force."""
        for address in self.addresses.get(workload, ()):
            guard = self.guards[address]
            flags = guard.flags & ~GuardFlag.PARTED | (GuardFlag.PARTED if parted else 0)
            if guard.workload == workload and guard.flags != flags:
                self.put(address, replace(guard, flags=flags))

    def leave(self, workload: int) -> None:
        """Delete the guards of all of a workload's addresses."""
        for address in list(self.addresses.get(workload, ())):
            self.unguard(address, workload)

    def leave_member(self, workload: int) -> None:
        """Delete the guard of a workload whose processes share the node's addresses."""
        self.maps.member_guards.delete(workload)

    def unguard(self, address: bytes, workload: int) -> None:
        """Delete a workload's guard, unless another's stands there by now."""
        self.addresses[workload].discard(address)
        if not self.addresses[workload]:
            del self.addresses[workload]
        owner = self.guards.get(address)
        if owner is not None and owner.workload == workload:
            self.maps.guards.delete(LocalAddress(address))
            del self.guards[address]
