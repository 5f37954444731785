"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.standalone.client import Table


def render_table(table: Table) -> str:
    """Return the table as kubectl prints one: columns aligned, three spaces apart."""
    lines = [table.columns, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines)


def only_namespace(table: Table, namespace: str | None) -> Table:
    """Return the rows of one namespace, without its column; all of them for None."""
    if namespace is None or "NAMESPACE" not in table.columns:
        return table
    index = table.columns.index("NAMESPACE")
    rows = [row for row in table.rows if row[index] == namespace]
    return Table(
        columns=_without(table.columns, index),
        rows=tuple(_without(row, index) for row in rows),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "   ".join(
        f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


def _without(cells: Sequence[str], index: int) -> tuple[str, ...]:
    return (*cells[:index], *cells[index + 1 :])
