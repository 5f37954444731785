from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from deploy.standalone.control.applied import apply
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.errors import StateError
from deploy.standalone.control.state import StateStore
from deploy.standalone.control.view import Carried
from tests.deploy.standalone.control.helpers import (
    AMBIENT,
    FILE,
    deployment,
    documents,
    read,
    service,
)


def test_objects_come_back_with_their_places(tmp_path: Path) -> None:
    store = StateStore(tmp_path / "control")
    text = documents(AMBIENT, service("web"), deployment("web"))
    catalog = Catalog().loaded(FILE, read(text))
    catalog = apply(catalog, service("b")).catalog
    store.save_catalog(catalog)
    again = store.load_catalog()
    assert again.objects() == catalog.objects()
    places = [value.origin for value in catalog.objects().values()]
    assert [value.origin for value in again.objects().values()] == places


def test_addresses_and_waypoints_come_back(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    carried = Carried(
        addresses={("shop", "web"): (ip_address("10.96.7.7"), ip_address("fd00::7"))},
        places={("shop", "web-1-0"): "node2"},
        waypoints=frozenset({("shop", "waypoint")}),
        vips={("shop", "a.example"): (ip_address("240.240.0.7"), ip_address("2001:2::7"))},
        authentications=(("shop", "b"), ("shop", "a")),
        names={"a.example": (ip_address("192.0.2.1"),)},
        members={"node1": frozenset({"Kubernetes//Pod/shop/a", "b"}), "node2": frozenset()},
    )
    store.save_carried(carried)
    assert store.load_carried(Catalog()) == carried


def test_pods_of_a_template_that_was_changed_meanwhile_are_known(tmp_path: Path) -> None:
    catalog = Catalog().loaded(FILE, read(deployment("web")))
    revisions = StateStore(tmp_path).load_carried(catalog).revisions
    assert [d.name for d in revisions[("shop", "web", None)]] == ["web"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_cannot_be_used_is_said_and_left(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = StateStore(tmp_path)
    store.objects.write_bytes(content)
    assert store.load_catalog() == Catalog()
    assert "can't be used, going on without it" in caplog.text


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="can't be written"):
        StateStore(tmp_path / "file" / "below").save_carried(Carried())
