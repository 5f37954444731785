"""Who must prove who they are: PeerAuthentications by level, as istiod weighs them.

The mode of a workload is that of its own PeerAuthentication (one that selects it), or
its namespace's (one without a selector), or the mesh's (one of the root namespace),
and PERMISSIVE when all are unset. Of several at one level the oldest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.standalone.control.istioapi import (
    ROOT_NAMESPACE,
    MtlsMode,
    PeerAuthentication,
)
from deploy.standalone.control.objects import Labels
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.selectors import Selectors

Name = tuple[str, str]
Objects = Mapping[Name, PeerAuthentication]


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds for a workload. said_by: whose mode it is, None for nobody's.

    own: the PeerAuthentication that selects it, whose ports may differ.
    """

    mode: MtlsMode
    said_by: PeerAuthentication | None = None
    own: PeerAuthentication | None = None

    @property
    def exceptions(self) -> Mapping[int, MtlsMode]:
        """The ports that differ from the mode."""
        return {} if self.own is None else differing(self.own, self.mode)


class Authentications:
    """All PeerAuthentications; seen: their names, the oldest first."""

    def __init__(self, objects: Objects, seen: Iterable[Name]) -> None:
        self.objects = objects
        self.rank = {name: age for age, name in enumerate(seen)}
        self.general: dict[str, PeerAuthentication] = {}
        self.outranked: dict[Name, PeerAuthentication] = {}
        selecting = []
        for name in self.rank:
            each = objects[name]
            if each.selector:
                selecting += [each] if each.namespace != ROOT_NAMESPACE else []
            elif each.namespace in self.general:
                self.outranked[name] = self.general[each.namespace]
            else:
                self.general[each.namespace] = each
        self.selectors = Selectors(selecting)

    def selecting(self, namespace: str, labels: Labels) -> list[PeerAuthentication]:
        """Those that select a workload, the oldest first."""
        found = self.selectors.selecting(namespace, labels)
        return sorted(found, key=lambda each: self.rank[each.namespace, each.name])

    def standing(self, namespace: str, labels: Labels) -> Standing:
        """What holds for a workload."""
        if not self.objects:  # asked for each pod in each step
            return Standing(MtlsMode.PERMISSIVE)
        own = next(iter(self.selecting(namespace, labels)), None)
        return self.of_levels(namespace, own)

    def of_levels(self, namespace: str, own: PeerAuthentication | None) -> Standing:
        """What holds for workloads of a namespace that one selects, or none."""
        for each in (own, self.general.get(namespace), self.general.get(ROOT_NAMESPACE)):
            if each is not None and each.mode is not MtlsMode.UNSET:
                return Standing(each.mode, each, own)
        return Standing(MtlsMode.PERMISSIVE, None, own)

    def in_force(self, each: PeerAuthentication) -> bool:
        """Whether one counts at its level."""
        if each.selector:
            return each.namespace != ROOT_NAMESPACE
        return (each.namespace, each.name) not in self.outranked

    def problems(self, workloads: Iterable[tuple[str, Labels]]) -> set[Problem]:
        """What isn't in force. workloads: the namespaces and labels of all of them."""
        found = {
            self.objects[name].origin.error("metadata.name", f"not in force: {older(by)}")
            for name, by in self.outranked.items()
        }
        found |= {
            each.origin.error(
                "spec.selector",
                f"not in force: in {ROOT_NAMESPACE} it is for the whole mesh, without a "
                "selector; put it into the workloads' namespace",
            )
            for each in self.objects.values()
            if each.selector and each.namespace == ROOT_NAMESPACE
        }
        matched: set[Name] = set()
        for namespace, labels in workloads if self.selectors.by_label else ():
            ranked = self.selecting(namespace, labels)
            matched |= {(each.namespace, each.name) for each in ranked}
            found |= {
                each.origin.error("spec.selector", f"not in force for all: {older(ranked[0])}")
                for each in ranked[1:]
            }
        return found | {
            each.origin.notice(
                "spec.selector", "no pod is selected: the policy holds for nobody"
            )
            for name, each in self.objects.items()
            if each.selector and each.namespace != ROOT_NAMESPACE and name not in matched
        }


def older(winner: PeerAuthentication) -> str:
    """Why one doesn't count."""
    return f"{winner.key} is older, and only one counts at a level"


def differing(own: PeerAuthentication, mode: MtlsMode) -> dict[int, MtlsMode]:
    """The ports that are stricter or less strict than the mode says."""
    strict = mode is MtlsMode.STRICT
    return {
        port: said
        for port, said in own.ports.items()
        if said is not MtlsMode.UNSET and (said is MtlsMode.STRICT) is not strict
    }


def age_order(before: Iterable[Name], objects: Objects) -> tuple[Name, ...]:
    """The names by age: those known before, then the new ones in their files' order."""
    known = tuple(name for name in before if name in objects)
    return known + tuple(name for name in objects if name not in set(known))
