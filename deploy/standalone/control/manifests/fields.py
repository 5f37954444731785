"""Reading a YAML mapping field by field, with types checked and nothing ignored.

Getters report what is wrong and return their default, so that one reading of a
document finds all of its errors; who reads looks at ``report.failed`` at the end.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

import yaml
from yaml.constructor import SafeConstructor

from deploy.standalone.control.problems import Level, Origin, Problem

TAG = "tag:yaml.org,2002:"
NAMES = {
    f"{TAG}int": "the number {}",
    f"{TAG}float": "the number {}",
    f"{TAG}bool": "the boolean {}",
    f"{TAG}str": "the text {!r}",
    f"{TAG}null": "nothing",
    f"{TAG}timestamp": "the date {}",
}
_constructor = SafeConstructor()


class Report:
    """Collects the problems of one document."""

    def __init__(self, file: str, line_offset: int = 0) -> None:
        self.file = file
        self.line_offset = line_offset
        self.problems: list[Problem] = []

    @property
    def failed(self) -> bool:
        """Whether there was an error: the document must not be used."""
        return any(p.level is Level.ERROR for p in self.problems)

    def origin(self, node: yaml.Node) -> Origin:
        """Where a node was written."""
        return Origin(self.file, node.start_mark.line + 1 + self.line_offset)


class Fields:
    """A mapping of a document. path: its place, such as ``spec.ports[0]``.

    A mapping that is missing reads as one without fields, placed where its
    parent is, so that a required field of it is reported there.
    """

    def __init__(self, node: yaml.Node, path: str, report: Report, *, missing: bool = False):
        self.node = node
        self.path = path
        self.report = report
        self.missing = missing
        self.values: dict[str, yaml.Node] = {}
        self.known: set[str] = set()
        if missing:
            return
        if not isinstance(node, yaml.MappingNode):
            self.wrong("", f"expected a mapping, not {describe(node)}")
            return
        _constructor.flatten_mapping(node)
        for key, value in node.value:
            name = str(key.value)
            if name in self.values:
                self.report.problems.append(
                    report.origin(key).error(self.at(name), "this field is there twice")
                )
            self.values[name] = value

    @property
    def origin(self) -> Origin:
        """Where this mapping was written."""
        return self.report.origin(self.node)

    def at(self, name: str) -> str:
        """The path of a field of this mapping."""
        return f"{self.path}.{name}" if self.path and name else self.path or name

    # ---- reporting

    def wrong(self, name: str, message: str) -> None:
        """Report an error at a field (or at this mapping: empty name)."""
        node = self.values.get(name, self.node)
        self.report.problems.append(self.report.origin(node).error(self.at(name), message))

    def notice(self, name: str, message: str) -> None:
        """Report a notice at a field."""
        node = self.values.get(name, self.node)
        self.report.problems.append(self.report.origin(node).notice(self.at(name), message))

    def ignore(self, *names: str) -> None:
        """Accept fields that make no difference here."""
        self.known.update(names)

    def unsupported(self, reasons: Mapping[str, str]) -> None:
        """Report as errors fields that would make a difference but can't: name → why."""
        for name, reason in reasons.items():
            if self.has(name):
                self.wrong(name, f"not supported: {reason}")

    def without_effect(self, reasons: Mapping[str, str]) -> None:
        """Accept, with a notice, fields that don't work here: name → why."""
        for name, reason in reasons.items():
            if self.has(name):
                self.notice(name, f"without effect: {reason}")

    def end(self) -> None:
        """Report every field that nobody asked for."""
        for name in self.values.keys() - self.known:
            close = difflib.get_close_matches(name, self.known, 1)
            hint = f": did you mean {close[0]}?" if close else ""
            self.wrong(name, f"unknown field{hint}")

    # ---- reading

    def value(self, name: str) -> yaml.Node | None:
        """A field's node; None when it is absent or null."""
        self.known.add(name)
        node = self.values.get(name)
        if node is None or node.tag == f"{TAG}null":
            return None
        return node

    def has(self, name: str) -> bool:
        """Whether a field is there and not null, nor an empty list or mapping."""
        node = self.value(name)
        return node is not None and not (
            isinstance(node, yaml.CollectionNode) and not node.value
        )

    def text(self, name: str, default: str = "") -> str:
        """A text; default when it is absent."""
        node = self.value(name)
        return default if node is None else self.scalar(node, name)

    def required(self, name: str, hint: str = "") -> str:
        """A text that must be there and not be empty; hint: what to do."""
        node = self.value(name)
        if node is None:
            self.wrong(name, f"missing{': ' + hint if hint else ''}")
            return ""
        found = self.scalar(node, name)
        if not found and node.tag == f"{TAG}str":
            self.wrong(name, "must not be empty")
        return found

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from low to high."""
        node = self.value(name)
        if node is None:
            return default
        number = whole_number(node)
        if number is None:
            self.wrong(name, f"expected a whole number, not {describe(node)}")
            return default
        if not low <= number <= high:
            self.wrong(name, f"{number} is not from {low} to {high}")
            return default
        return number

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from low to high, whole or not."""
        node = self.value(name)
        if node is None:
            return default
        number = any_number(node)
        if number is None:
            self.wrong(name, f"expected a number, not {describe(node)}")
            return default
        if not low <= number <= high:
            self.wrong(name, f"{number:g} is not from {low:g} to {high:g}")
            return default
        return number

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        node = self.value(name)
        if node is None:
            return default
        if node.tag != f"{TAG}bool" or not isinstance(node, yaml.ScalarNode):
            self.wrong(name, f"expected true or false, not {describe(node)}")
            return default
        return bool(_constructor.construct_yaml_bool(node))

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """One of some words."""
        found = self.text(name) or default
        if found not in allowed:
            self.wrong(name, f"{found!r} is none of {', '.join(allowed)}")
            return default
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        found = []
        for index, node in enumerate(self.items(name)):
            found.append(self.scalar(node, f"{name}[{index}]"))
        return tuple(found)

    def labels(self, name: str) -> dict[str, str]:
        """A mapping from text to text, ordered by key."""
        inner = self.child(name)
        return {key: inner.text(key) for key in sorted(inner.values)}

    def child(self, name: str) -> Fields:
        """A mapping; one without fields when it is absent."""
        node = self.value(name)
        if node is None:
            return Fields(self.node, self.at(name), self.report, missing=True)
        return Fields(node, self.at(name), self.report)

    def children(self, name: str) -> list[Fields]:
        """A list of mappings."""
        return [
            Fields(node, f"{self.at(name)}[{index}]", self.report)
            for index, node in enumerate(self.items(name))
        ]

    def items(self, name: str) -> list[yaml.Node]:
        """The nodes of a list."""
        node = self.value(name)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(name, f"expected a list, not {describe(node)}")
            return []
        return list(node.value)

    def number_or_text(self, name: str) -> int | str | None:
        """A whole number or a text; None when absent."""
        node = self.value(name)
        if node is None:
            return None
        number = whole_number(node)
        return self.scalar(node, name) if number is None else number

    def scalar(self, node: yaml.Node, name: str) -> str:
        """A node's text; anything else is reported, and reads as empty."""
        if node.tag == f"{TAG}str" and isinstance(node, yaml.ScalarNode):
            return str(node.value)
        hint = ": put it in quotes" if isinstance(node, yaml.ScalarNode) else ""
        self.report.problems.append(
            self.report.origin(node).error(
                self.at(name), f"expected a text, not {describe(node)}{hint}"
            )
        )
        return ""


def whole_number(node: yaml.Node) -> int | None:
    """A node's number, or None."""
    if node.tag != f"{TAG}int" or not isinstance(node, yaml.ScalarNode):
        return None
    try:
        return int(_constructor.construct_yaml_int(node))
    except ValueError:
        return None


def any_number(node: yaml.Node) -> float | None:
    """A node's number, whole or not, or None."""
    if node.tag == f"{TAG}float" and isinstance(node, yaml.ScalarNode):
        return float(_constructor.construct_yaml_float(node))
    return whole_number(node)


def describe(node: yaml.Node) -> str:
    """What a node is, in words."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    shown = str(node.value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return NAMES.get(node.tag, "{!r}").format(shown)
