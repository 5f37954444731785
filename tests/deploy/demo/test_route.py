"""Edits of the route that the sample ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.demo.route import save, with_header_match, with_weights
from tests.support.bookinfo import SAMPLE

ROUTE = (SAMPLE / "route-reviews.yaml").read_text()


def test_weights_change_and_nothing_else() -> None:
    before, after = (
        yaml.safe_load(text)
        for text in (ROUTE, with_weights(ROUTE, {"reviews-v1": 50, "reviews-v2": 50}))
    )
    backends = after["spec"]["rules"][0]["backendRefs"]
    assert [backend.pop("weight") for backend in backends] == [50, 50]
    for backend in before["spec"]["rules"][0]["backendRefs"]:
        del backend["weight"]
    assert after == before


def test_weight_of_every_backend_must_be_given() -> None:
    with pytest.raises(KeyError):
        with_weights(ROUTE, {"reviews-v1": 1})


def test_header_match_goes_before_the_split() -> None:
    text = with_header_match(ROUTE, "end-user", "jason", "reviews-v2")
    matched, split = yaml.safe_load(text)["spec"]["rules"]
    assert matched == {
        "matches": [{"headers": [{"name": "end-user", "value": "jason"}]}],
        "backendRefs": [{"name": "reviews-v2", "port": 9080}],
    }
    assert split == yaml.safe_load(ROUTE)["spec"]["rules"][0]
    both = with_weights(text, {"reviews-v1": 1, "reviews-v2": 3})
    assert [b["weight"] for b in yaml.safe_load(both)["spec"]["rules"][1]["backendRefs"]] == [
        1,
        3,
    ]


def test_save_replaces_and_leaves_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "route.yaml"
    path.write_text("old")
    inode = path.stat().st_ino
    save(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]
