"""What is wrong with a manifest, as a value: reported, never raised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """ERROR: something asked for isn't in force; NOTICE: it is, but look."""

    ERROR = "error"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding. line: from 1; field: a path such as ``spec.ports[0].port``."""

    file: str
    line: int
    field: str
    message: str
    level: Level = Level.ERROR

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was written. line: from 1."""

    file: str
    line: int

    def error(self, field: str, message: str) -> Problem:
        """An error at this place."""
        return Problem(self.file, self.line, field, message)

    def notice(self, field: str, message: str) -> Problem:
        """A notice at this place."""
        return Problem(self.file, self.line, field, message, Level.NOTICE)
