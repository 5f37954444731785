from __future__ import annotations

from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.objects import Key
from tests.deploy.standalone.control.helpers import documents, read, service

A, B = Key("Service", "shop", "a"), Key("Service", "shop", "b")


def loaded(catalog: Catalog, text: str, file: str = "/m/a.yaml") -> Catalog:
    return catalog.loaded(file, read(text, file))


def test_a_file_that_is_no_yaml_keeps_its_last_good_content() -> None:
    catalog = loaded(Catalog(), documents(service("a"), service("b")))
    catalog = loaded(catalog, "a: [")
    assert set(catalog.objects()) == {A, B}
    assert "not valid YAML" in catalog.problems()[0].message
    assert set(loaded(catalog, service("b")).objects()) == {B}


def test_a_bad_document_keeps_its_object_and_the_rest_is_applied() -> None:
    catalog = loaded(Catalog(), documents(service("a"), service("b")))
    old = catalog.objects()[A]
    bad = service("a").replace("port: 80", "port: eighty")
    new = service("b").replace("8080", "9090")
    catalog = loaded(catalog, documents(bad, new))
    assert catalog.objects()[A] == old
    assert catalog.objects()[B].ports[0].target == 9090  # type: ignore[union-attr]


def test_a_bad_document_without_a_name_keeps_everything() -> None:
    catalog = loaded(Catalog(), documents(service("a"), service("b")))
    catalog = loaded(catalog, "apiVersion: v1\nkind: Service\n")
    assert set(catalog.objects()) == {A, B}


def test_an_object_in_two_files_counts_once_and_is_reported() -> None:
    catalog = loaded(Catalog(), service("a"), "/m/b.yaml")
    catalog = loaded(catalog, service("a").replace("8080", "1"), "/m/a.yaml")
    assert catalog.objects()[A].ports[0].target == 1  # type: ignore[union-attr]
    (problem,) = catalog.problems()
    assert (problem.file, problem.message) == (
        "/m/b.yaml",
        "service/shop/a is in /m/a.yaml already, which counts",
    )
    assert set(catalog.without("/m/a.yaml").objects()) == {A}
