"""Apply and delete, as the API has them: all of a text's objects, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from deploy.standalone.control.catalog import APPLIED, Catalog, Source
from deploy.standalone.control.errors import ApplyError, ConflictError
from deploy.standalone.control.manifests.documents import Document, load
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Level, Problem
from deploy.standalone.control.state import folder_of


@dataclass(frozen=True, slots=True)
class Outcome:
    """A new catalog; what became of each object; what to look at."""

    catalog: Catalog
    results: tuple[tuple[Key, str], ...]
    notices: tuple[Problem, ...] = ()


def apply(catalog: Catalog, text: str, file: str = APPLIED) -> Outcome:
    """Create or change a text's objects; raises ApplyError or ConflictError.

    file: the absolute path that the text was read from, where there is one.
    """
    documents, notices = read(text, file)
    refuse_watched(catalog, documents)
    before = catalog.sources.get(APPLIED, Source()).documents
    results = []
    for document in documents:
        key = document.value.key
        old = before.get(key)
        same = old is not None and old.value == document.value
        results.append(
            (key, "created" if old is None else "unchanged" if same else "configured")
        )
    after = {**before, **{document.value.key: document for document in documents}}
    return Outcome(catalog.with_source(APPLIED, Source(after)), tuple(results), notices)


def delete(catalog: Catalog, text: str, file: str = APPLIED) -> Outcome:
    """Delete a text's objects; raises ApplyError or ConflictError."""
    documents, notices = read(text, file)
    refuse_watched(catalog, documents)
    before = catalog.sources.get(APPLIED, Source()).documents
    keys = [document.value.key for document in documents]
    missing = [str(key) for key in keys if key not in before]
    if missing:
        raise ApplyError(f"there is no {', no '.join(missing)}")
    after = {key: document for key, document in before.items() if key not in keys}
    results = tuple((key, "deleted") for key in keys)
    return Outcome(catalog.with_source(APPLIED, Source(after)), results, notices)


def read(text: str, file: str) -> tuple[tuple[Document, ...], tuple[Problem, ...]]:
    """A text's objects and notices; raises ApplyError with every error that it has."""
    loaded = load(text, file, folder_of(file))
    errors = [p for p in loaded.problems if p.level is Level.ERROR]
    if errors:
        raise ApplyError("\n".join(str(error) for error in errors))
    return loaded.documents, tuple(p for p in loaded.problems if p not in errors)


def refuse_watched(catalog: Catalog, documents: Iterable[Document]) -> None:
    """Raise ConflictError when a watched file holds one of the objects."""
    conflicts = [
        f"{document.value.key} comes from {holder}: edit it there"
        for document in documents
        if (holder := catalog.holder(document.value.key)) not in {None, APPLIED}
    ]
    if conflicts:
        raise ConflictError("\n".join(conflicts))


Change = Callable[[Catalog, str, str], Outcome]
