"""Compared with prometheus-client's own text, and read by its parser."""

from __future__ import annotations

import math

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from ztunnel_compat.runtime.exposition import exposition


def families() -> list[Metric]:
    counter = CounterMetricFamily("requests", 'what "it"\nis \\ was', labels=["a", "b"])
    counter.add_metric(["x", 'with "quotes", \\ and\nlines'], 1)
    counter.add_metric(["x", "plain"], 2.5)
    other = CounterMetricFamily("more", "of the same labels", labels=["a", "b"])
    other.add_metric(["x", "plain"], 7)
    gauge = GaugeMetricFamily("up", "without labels", value=1)
    return [counter, other, gauge, CounterMetricFamily("none", "nothing", labels=["a"])]


def test_a_parser_reads_what_was_meant() -> None:
    read = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(exposition(families()).decode())
        for s in family.samples
    }
    assert read == {
        ("requests_total", "x", 'with "quotes", \\ and\nlines'): 1,
        ("requests_total", "x", "plain"): 2.5,
        ("more_total", "x", "plain"): 7,
        ("up",): 1,
    }


def test_the_text() -> None:
    family = CounterMetricFamily("requests", "of a test", labels=["a", "b"])
    family.add_metric(["x", "y"], 3)
    assert exposition([family]) == (
        b"# HELP requests_total of a test\n"
        b"# TYPE requests_total counter\n"
        b'requests_total{a="x",b="y"} 3\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1 << 64) - 1, "18446744073709551615"),
        (0.5, "0.5"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    gauge = Metric("g", "of a test", "gauge")
    gauge.add_sample("g", {}, value)
    assert exposition([gauge]).decode().splitlines()[-1] == f"g {text}"


def test_labels_of_two_names_are_kept_apart() -> None:
    one = GaugeMetricFamily("one", "of a test", labels=["a"])
    two = GaugeMetricFamily("two", "of a test", labels=["b"])
    one.add_metric(["same"], 1)
    two.add_metric(["same"], 1)
    assert b'one{a="same"}' in exposition([one, two])
    assert b'two{b="same"}' in exposition([one, two])


def test_a_text_stands_as_it_is() -> None:
    assert exposition([b"# a\n", b"b 1\n"]) == b"# a\nb 1\n"
