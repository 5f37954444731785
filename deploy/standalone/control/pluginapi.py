"""PythonFilters as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Origin


class Phase(StrEnum):
    """Where a plug-in stands, as Istio's WasmPlugin has it: before the filters that find
    out who asks, before those that say who may, before what counts; or after all.
    """

    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"
    LAST = "UNSPECIFIED_PHASE"


@dataclass(frozen=True, slots=True)
class PythonFilter:
    """A filter in Python. priority: of a phase's, the greatest comes first.

    code, class_name: inline; or entry_point; config: JSON; fail_open: requests go on
    without it where it fails; timeout: seconds of a call, 0: as waypoints have it;
    memory: bytes, 0: likewise.
    """

    namespace: str
    name: str
    targets: tuple[TargetRef, ...]
    phase: Phase
    priority: int
    code: str
    class_name: str
    entry_point: str
    config: str
    fail_open: bool
    timeout: float
    memory: int
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("PythonFilter", self.namespace, self.name)
