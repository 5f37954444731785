from __future__ import annotations

from deploy.standalone.control.applied import apply, delete
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.errors import ApplyError, ConflictError
from deploy.standalone.control.objects import Key
from tests.deploy.standalone.control.helpers import documents, read, service

A = Key("Service", "shop", "a")


def test_apply_and_delete() -> None:
    catalog = Catalog()
    first = apply(catalog, service("a"))
    assert first.results == ((A, "created"),)
    again = apply(first.catalog, "# moved\n\n" + service("a"))
    assert again.results == ((A, "unchanged"),)
    changed = apply(again.catalog, service("a").replace("8080", "1"))
    assert changed.results == ((A, "configured"),)
    gone = delete(changed.catalog, service("a"))
    assert gone.results == ((A, "deleted"),)
    assert not gone.catalog.objects()


def failure(text: str, catalog: Catalog, act: object = apply) -> str:
    try:
        act(catalog, text)  # type: ignore[operator]
    except ApplyError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was raised")


def test_apply_is_all_or_nothing_and_names_the_place() -> None:
    bad = documents(service("a"), service("b").replace("port: 80", "prt: 80"))
    told = failure(bad, Catalog())
    assert "applied:13: spec.ports[0].prt: unknown field: did you mean port?" in told


def test_objects_of_files_are_edited_there() -> None:
    catalog = Catalog().loaded("/m/a.yaml", read(service("a"), "/m/a.yaml"))
    for act in (apply, delete):
        told = failure(service("a"), catalog, act)
        assert told == "ConflictError: service/shop/a comes from /m/a.yaml: edit it there"
    assert issubclass(ConflictError, ApplyError)


def test_deleting_what_is_not_there() -> None:
    assert failure(service("a"), Catalog(), delete) == "ApplyError: there is no service/shop/a"
