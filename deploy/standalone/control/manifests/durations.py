"""Durations, as the Gateway API and as Istio write them, in seconds."""

from __future__ import annotations

import re

from deploy.standalone.control.manifests.fields import Fields

#: GEP-2257: a number and a unit, up to four times.
GATEWAY = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
ISTIO = re.compile(r"([0-9]+(\.[0-9]+)?(h|ms|us|µs|ns|m|s))+")
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)")
SECONDS = {
    "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9,
}  # fmt: skip


def read_duration(fields: Fields, name: str) -> float:
    """A Gateway API duration; 0 when absent, and for "0s"."""
    return read(fields, name, GATEWAY, '"10s", "500ms" or "1m30s"') or 0.0


def read_time(fields: Fields, name: str, *, zero: bool = False) -> float | None:
    """An Istio duration, of 1ms at least; None when absent. zero: "0s" will do too."""
    found = read(fields, name, ISTIO, '"10s", "0.5s" or "1h"')
    if found is not None and found < 0.001 and not (zero and found == 0):
        fields.wrong(name, f"{fields.text(name)!r} is too short: give 1ms at least")
    return found


def read(fields: Fields, name: str, form: re.Pattern[str], examples: str) -> float | None:
    """A duration of that form; None when absent."""
    text = fields.text(name)
    if not text:
        return None
    if not form.fullmatch(text):
        fields.wrong(name, f"{text!r} is no duration: write it as {examples}")
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in PART.findall(text))
