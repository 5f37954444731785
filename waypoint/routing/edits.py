"""Headers set, added and removed, in Envoy's order."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from waypoint.messages import Field, Request
from waypoint.routing.templates import NO_FACTS, Facts, Template


class Action(enum.Enum):
    """What a value does beside values of its name that are there already."""

    ADD = "add"
    ADD_IF_ABSENT = "add if absent"
    SET = "set"
    SET_IF_PRESENT = "set if present"


@dataclass(frozen=True, slots=True)
class Addition:
    """One header; name: in lower case; keep_empty: add it with no value, too."""

    name: bytes
    value: Template
    action: Action = Action.ADD
    keep_empty: bool = False


@dataclass(frozen=True, slots=True)
class Edits:
    """What one level of a configuration does to headers: removals come first."""

    remove: frozenset[bytes] = frozenset()
    add: tuple[Addition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.add)

    @property
    def reads_connection(self) -> bool:
        """Whether two equal messages of two connections may be edited differently."""
        return any(addition.value.reads_connection for addition in self.add)


NO_EDITS = Edits()


def edit_request(request: Request, levels: Iterable[Edits], facts: Facts = NO_FACTS) -> Request:
    """A request after the edits of some levels; the very same one if they do nothing."""
    for level in filter(None, levels):
        request = request._replace(fields=without(request.fields, level.remove))
        values = [(each, each.value.render(request, (), facts)) for each in level.add]
        request = request._replace(fields=added(request.fields, values))
    return request


def edit_response(
    fields: tuple[Field, ...],
    request: Request,
    levels: Iterable[Edits],
    facts: Facts = NO_FACTS,
) -> tuple[Field, ...]:
    """A response's fields after the edits; request: the one that it answers."""
    for level in filter(None, levels):
        kept = without(fields, level.remove)
        values = [(each, each.value.render(request, kept, facts)) for each in level.add]
        fields = added(kept, values)
    return fields


def without(fields: tuple[Field, ...], names: frozenset[bytes]) -> tuple[Field, ...]:
    """The fields but for some names."""
    if not names:
        return fields
    return tuple(field for field in fields if field[0] not in names)


def replaced(fields: tuple[Field, ...], new: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields with new ones in place of those of the same names."""
    return without(fields, frozenset(name for name, _ in new)) + new


def added(fields: tuple[Field, ...], values: list[tuple[Addition, bytes]]) -> tuple[Field, ...]:
    """Additions made. All look at what is there before the first of them (as Envoy)."""
    there = {name for name, _ in fields}
    new: list[Field] = []
    settings: dict[bytes, bytes] = {}
    for addition, value in values:
        if not value and not addition.keep_empty:
            continue
        present = addition.name in there
        if addition.action is Action.SET or (
            addition.action is Action.SET_IF_PRESENT and present
        ):
            settings[addition.name] = value
        elif addition.action is Action.ADD or (
            addition.action is Action.ADD_IF_ABSENT and not present
        ):
            new.append((addition.name, value))
    return (*without(fields, frozenset(settings)), *settings.items(), *new)
