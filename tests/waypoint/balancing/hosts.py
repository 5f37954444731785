"""Hosts to balance over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class FakeHost:
    label: str
    weight: int = 1
    active: int = 0
    since: float | None = None

    def __repr__(self) -> str:
        return self.label


def hosts(*weights: int) -> list[FakeHost]:
    return [FakeHost(f"10.0.0.{n}:80", weight) for n, weight in enumerate(weights, 1)]


def shares(members: list[FakeHost]) -> list[tuple[FakeHost, float]]:
    return [(host, float(host.weight)) for host in members]
