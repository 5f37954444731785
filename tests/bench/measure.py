"""Rounds in turn, medians, and the table."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: operations per second, and busy CPU microseconds per operation."""

    rate: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of build/bench.json; ratio: value over the value of `against`."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    cpu_us_per_op: float


def busy_seconds() -> float:
    """CPU time that the machine has been busy, all cores, since boot."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle, iowait = fields[3], fields[4]
    return (sum(fields[:8]) - idle - iowait) / TICKS


def wrk(
    argv_in: Callable[[Sequence[str]], list[str]], url: str, *options: str, seconds: int = 2
) -> Sample:
    """One run of wrk inside a pod; raises RuntimeError on any failed request."""
    argv = argv_in(["wrk", "-t1", f"-d{seconds}s", *options, url])
    busy = busy_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    busy = busy_seconds() - busy
    if match := re.search(r"(Socket errors|Non-2xx).*", done.stdout):
        raise RuntimeError(f"{url}: {match[0]}")
    requests = re.search(r"(\d+) requests in ([\d.]+)(m?s)", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert requests
    assert rate
    return Sample(float(rate[1]), busy * 1e6 / int(requests[1]))


def in_turn(
    rounds: int, contenders: dict[str, Callable[[], Sample]]
) -> dict[str, list[Sample]]:
    """Run every contender once a round, the order turning; the samples of each."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            samples[name].append(contenders[name]())
    return samples


def compare(
    name: str, unit: str, samples: dict[str, list[Sample]], mesh: str, against: str
) -> Entry:
    """The entry of one contender beside another.

    The ratio is the median of the rounds' own ratios: a machine that gets slower
    meanwhile slows both sides of each.
    """
    ours, theirs = samples[mesh], samples[against]
    ratios = [mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True)]
    return Entry(
        name,
        round(statistics.median(s.rate for s in ours), 1),
        unit,
        against,
        round(statistics.median(ratios), 3),
        round(statistics.median(s.cpu_us for s in ours), 2),
    )


def table(entries: Sequence[Entry]) -> str:
    """The entries for people."""
    rows = [["name", "value", "unit", "against", "ratio", "cpu µs/op"]]
    rows += [
        [
            e.name,
            f"{e.value:,.1f}",
            e.unit,
            e.against,
            f"{e.ratio:.3f}",
            f"{e.cpu_us_per_op:.2f}",
        ]
        for e in entries
    ]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
    )


def as_json(entries: Sequence[Entry]) -> list[dict[str, object]]:
    """The entries for programs."""
    return [asdict(e) for e in entries]
