from __future__ import annotations

import pytest
import yaml

from deploy.demo.namespace import with_labels
from deploy.demo.routing import BOOKINFO

TEXT = "kind: Namespace\nmetadata: {name: a, labels: {old: x}}\n---\nkind: Service\n"


def test_labels_are_replaced_and_all_else_stays() -> None:
    namespace, service = yaml.safe_load_all(with_labels(TEXT, {"new": "y"}))
    assert namespace["metadata"] == {"name": "a", "labels": {"new": "y"}}
    assert service == {"kind": "Service"}


def test_bookinfo_has_one_namespace() -> None:
    text = (BOOKINFO / "bookinfo.yaml").read_text()
    without = list(yaml.safe_load_all(with_labels(text, {})))
    assert len(without) == len(list(yaml.safe_load_all(text)))
    assert not any("istio.io/" in str(each) for each in without)


def test_without_a_namespace_there_is_nothing_to_label() -> None:
    with pytest.raises(ValueError):
        with_labels("kind: Service\n", {})
