"""Everything that was written down, by source; bad sources keep what they had.

A source is a watched file's path, or APPLIED for what came through the API. A
document that can't be used leaves the object in force that it could have been
meant to be; a file that is no YAML leaves all of its objects in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deploy.standalone.control.gatewayapi import ClusterObject
from deploy.standalone.control.manifests.documents import Document, Loaded
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem

APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class Source:
    """What a source holds: its documents in force, and what is wrong with it now."""

    documents: Mapping[Key, Document] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalog:
    """All sources. An object in two of them counts where it is found first.

    Files go in the order of their paths; APPLIED comes last.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)

    def loaded(self, source: str, loaded: Loaded) -> Catalog:
        """With a source read anew."""
        before = self.sources.get(source, Source())
        return self.with_source(source, merge(before, loaded))

    def with_source(self, source: str, content: Source) -> Catalog:
        """With a source's content replaced."""
        return replace(self, sources={**self.sources, source: content})

    def without(self, source: str) -> Catalog:
        """Without a source."""
        return replace(self, sources={k: v for k, v in self.sources.items() if k != source})

    def ordered(self) -> list[str]:
        """The sources in their order of precedence."""
        return sorted(self.sources, key=lambda source: (source == APPLIED, source))

    def objects(self) -> dict[Key, ClusterObject]:
        """The objects in force."""
        found: dict[Key, ClusterObject] = {}
        for source in self.ordered():
            for key, document in self.sources[source].documents.items():
                found.setdefault(key, document.value)
        return found

    def holder(self, key: Key) -> str | None:
        """The source whose object of this name is in force."""
        return next((s for s in self.ordered() if key in self.sources[s].documents), None)

    def problems(self) -> list[Problem]:
        """What is wrong with the sources, objects that are in two of them included."""
        found: list[Problem] = []
        holders: dict[Key, str] = {}
        for source in self.ordered():
            content = self.sources[source]
            found += content.problems
            for key, document in content.documents.items():
                holder = holders.setdefault(key, source)
                if holder != source:
                    found.append(
                        document.value.origin.error(
                            "metadata.name", f"{key} is in {holder} already, which counts"
                        )
                    )
        return found


def merge(before: Source, loaded: Loaded) -> Source:
    """A source after it was read anew: what is bad now keeps its last good content."""
    if loaded.unreadable:
        return Source(before.documents, loaded.problems)
    fresh = {document.value.key: document for document in loaded.documents}
    kept = {
        key: document
        for key, document in before.documents.items()
        if key not in fresh and any(bad.may_be(key) for bad in loaded.rejected)
    }
    return Source({**kept, **fresh}, loaded.problems)
