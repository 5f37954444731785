"""Chains of filters, and what of them is decided with the plan: pure."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from waypoint.filters.admission import NO_ADMISSION, Admission
from waypoint.filters.soundness import checked, reframed
from waypoint.filters.verdicts import (
    Asked,
    HeadVerdict,
    Later,
    Passed,
    Refusal,
    Verdict,
    with_notes,
)
from waypoint.routing.defaults import NO_DEFAULTS, Defaults
from waypoint.routing.notes import NO_NOTES, Notes

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

#: An override that turns a filter off (Envoy's FilterConfig.disabled).
DISABLED = "disabled"


class HeadFilter(Protocol):
    """Decides by the head alone: equal heads of a connection get equal verdicts.

    name: the configured one, under which overrides stand and notes are kept; clusters:
    names that it may ask; reads_connection, reads_path: who sends the request has a say,
    and its path has (a route's own settings may have these too).
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """See above."""

    @property
    def reads_connection(self) -> bool:
        """See above."""

    @property
    def reads_path(self) -> bool:
        """See above."""

    def decide(self, asked: Asked) -> HeadVerdict:
        """What becomes of a request."""


class StepFilter(Protocol):
    """Decides for each request anew. name, clusters: as a HeadFilter's."""

    @property
    def name(self) -> str:
        """See above."""

    @property
    def clusters(self) -> tuple[str, ...]:
        """See above."""

    def begin(self, asked: Asked, passage: Passage) -> Verdict | Awaitable[Verdict]:
        """What becomes of a request: at once, or by a coroutine, ended with the exchange."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A filter at its place; enabled: where no override says otherwise; step: it is asked
    for each request anew.
    """

    filter: HeadFilter | StepFilter
    enabled: bool = True
    step: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", hasattr(self.filter, "begin"))

    def setting(self, overrides: Mapping[str, Any]) -> Any:
        """The route's override for it, DISABLED where it doesn't run."""
        found = overrides.get(self.filter.name)
        if found is None and not self.enabled:
            return DISABLED
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A target's filters, in order; admission: what is done before them; defaults: what
    holds where routes say nothing.
    """

    filters: tuple[Placed, ...] = ()
    admission: Admission = NO_ADMISSION
    defaults: Defaults = NO_DEFAULTS
    clusters: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = {name for placed in self.filters for name in placed.filter.clusters}
        object.__setattr__(self, "clusters", frozenset(names))


NO_CHAIN = Chain()


class Gate(NamedTuple):
    """Where a chain goes on at run time: its filter at an index, with what it sees."""

    chain: Chain
    at: int
    asked: Asked
    overrides: Mapping[str, Any]


class Opening(NamedTuple):
    """What the filters at the front of a chain came to, up to the first that has to be
    asked for each request.

    asked: the request as it is now; changed, reroute: whether they changed it, and want
    its route looked for anew; gate: what is left, or None; until: seconds that this
    holds; reads_connection: it holds for this connection alone; reads_path: for this path.
    """

    asked: Asked
    refusal: Refusal | None = None
    changed: bool = False
    reroute: bool = False
    gate: Gate | None = None
    seconds: float = math.inf
    reads_connection: bool = False
    counts: tuple[str, ...] = ()
    reads_path: bool = False

    @property
    def pathless(self) -> bool:
        """Whether it holds for a request of the same route with another path."""
        return not (self.reads_path or self.changed or self.reroute or self.gate)

    @property
    def notes(self) -> Notes:
        """What filters found."""
        return self.asked.notes


def open_chain(
    chain: Chain,
    asked: Asked,
    overrides: Mapping[str, Any],
    anew: Callable[[Asked], Mapping[str, Any]] | None = None,
    *,
    by_notes: bool = False,
) -> Opening:
    """Ask the filters at the front; overrides: the route's.

    anew: those of the route that a request has after a filter that had it looked for, or,
    by_notes, that found something out: they are for the filters behind.
    """
    refusal = gate = None
    changed = reroute = reads_connection = reads_path = False
    seconds = math.inf
    counts: tuple[str, ...] = ()
    for index, placed in enumerate(chain.filters):
        setting = placed.setting(overrides)
        if setting == DISABLED:
            continue
        found = placed.filter
        verdict = None
        if not placed.step:
            own = asked if setting is None else asked._replace(override=setting)
            verdict = found.decide(own)  # type: ignore[union-attr]
        if verdict is None or isinstance(verdict, Later):
            gate = Gate(chain, index, asked, overrides)
            break
        verdict = checked(verdict)
        if verdict.seconds is not None:
            seconds = min(seconds, verdict.seconds)
        reads_connection = (
            reads_connection
            or found.reads_connection  # type: ignore[union-attr]
            or getattr(setting, "reads_connection", False)
        )
        reads_path = (
            reads_path
            or found.reads_path  # type: ignore[union-attr]
            or getattr(setting, "reads_path", False)
        )
        counts += verdict.counts
        if isinstance(verdict, Refusal):
            refusal = verdict
            break
        asked = passed(asked, found.name, verdict)
        changed = changed or verdict.request is not None
        reroute = reroute or verdict.reroute
        if anew is not None and moves(verdict, sought=reroute or by_notes):
            overrides = anew(asked)
    return Opening(
        asked, refusal, changed, reroute, gate, seconds, reads_connection, counts, reads_path
    )


def moves(verdict: Passed, *, sought: bool) -> bool:
    """Whether a request may have another route now; sought: it is looked for after changes."""
    changed = verdict.request is not None or verdict.notes is not None
    return verdict.reroute or (sought and changed)


def passed(asked: Asked, name: str, verdict: Passed) -> Asked:
    """What the next filter sees."""
    if verdict.request is None and verdict.notes is None:
        return asked
    return asked._replace(
        request=reframed(verdict, asked.request),
        notes=with_notes(asked.notes or NO_NOTES, name, verdict.notes),
    )
