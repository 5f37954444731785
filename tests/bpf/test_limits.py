"""Limits of events: the kernel's and those in memory behave the same."""

from __future__ import annotations

from bpf.layout import EventClass
from bpf.maps import Maps
from bpf.percpu import possible_cpus
from tests.bpf.engine import Engine


def test_limits_leave_counts_alone(maps: Maps) -> None:
    before = maps.limits.suppressed(EventClass.DENIED)
    maps.limits.allow(EventClass.DENIED, 7)
    assert maps.limits.suppressed(EventClass.DENIED) == before
    maps.limits.allow(EventClass.DENIED, 0)


def test_each_cpu_gets_its_limit(mesh: Engine) -> None:
    limits = Maps.open(mesh.place.pin_dir).limits
    limits.allow(EventClass.CLOSED, 9)
    told = limits.read(EventClass.CLOSED)  # type: ignore[attr-defined]
    assert [one.most for one in told] == [9] * possible_cpus()
    assert {one.most for one in limits.read(EventClass.FAILED)} == {0}  # type: ignore[attr-defined]
    limits.allow(EventClass.CLOSED, 0)
