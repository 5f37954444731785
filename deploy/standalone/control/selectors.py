"""Objects that select workloads by their labels, found without trying each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from deploy.standalone.control.objects import Labels


class Selecting(Protocol):
    """An object that selects by labels, in its namespace."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def selector(self) -> Labels:
        """The labels that are looked for; without any it selects nothing."""


S = TypeVar("S", bound=Selecting)


class Selectors(Generic[S]):
    """Finds the objects that select a pod, without trying each."""

    def __init__(self, objects: Iterable[S]) -> None:
        self.by_label: dict[tuple[str, str, str], list[S]] = defaultdict(list)
        for each in objects:
            # Any one label of the selector will do: a pod must have them all.
            for key, value in list(each.selector.items())[:1]:
                self.by_label[(each.namespace, key, value)].append(each)

    def selecting(self, namespace: str, labels: Labels) -> tuple[S, ...]:
        """The namespace's objects whose selector fits the labels, by name."""
        if not self.by_label:  # asked for each pod in each step
            return ()
        found = [
            each
            for key, value in labels.items()
            for each in self.by_label.get((namespace, key, value), ())
            if all(labels.get(k) == v for k, v in each.selector.items())
        ]
        return tuple(sorted(found, key=lambda each: each.name))
