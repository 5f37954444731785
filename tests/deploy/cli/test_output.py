"""Tables as text."""

from __future__ import annotations

from deploy.cli.output import only_namespace, render_table
from deploy.standalone.client import Table

PODS = Table(
    ("NAMESPACE", "NAME", "READY"),
    (("bookinfo", "details-v1", "1/1"), ("x", "y", "")),
)


def test_columns_align_and_no_line_ends_in_blanks() -> None:
    assert render_table(PODS).split("\n") == [
        "NAMESPACE   NAME         READY",
        "bookinfo    details-v1   1/1",
        "x           y",
    ]


def test_one_namespace_needs_no_column() -> None:
    assert only_namespace(PODS, "x") == Table(("NAME", "READY"), (("y", ""),))
    assert only_namespace(PODS, None) == PODS
    assert only_namespace(PODS, "none").rows == ()


def test_table_without_namespaces_stays() -> None:
    nodes = Table(("NAME",), (("node1",),))
    assert only_namespace(nodes, "x") == nodes
