from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.ztunnel_compat.runtime.alone import alone
from ztunnel_compat.runtime.errors import ListenError
from ztunnel_compat.runtime.metrics import Families, MetricsServer

URL = "http://127.0.0.1:15020"


def counter(name: str, series: int) -> Families:
    def make() -> Iterable[Metric]:
        family = CounterMetricFamily(name, "of a test", labels=["n", *"abcdefgh"])
        for number in range(series):
            family.add_metric([str(number), *(["some value"] * 8)], number)
        yield family

    return make


@pytest.mark.parametrize("path", ["/metrics", "/stats/prometheus"])
async def test_all_sources_are_told_in_text(path: str) -> None:
    async with alone(MetricsServer()) as (server, session):

        async def first() -> Families:
            return counter("first", 2)

        async def second() -> Families:
            return counter("second", 1)

        server.sources += (first, second)
        async with session.get(URL + path) as response:
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/plain")
            text = await response.text()
    told = {s.name: s.value for f in text_string_to_metric_families(text) for s in f.samples}
    assert told == {"first_total": 1, "second_total": 0}


async def test_ten_thousand_series_dont_hold_the_loop() -> None:
    """The loop gets its turn while the text is made: not once, but all along."""
    async with alone(MetricsServer()) as (server, session):

        async def many() -> Families:
            return counter("many", 10_000)

        server.sources.append(many)
        turns = 0
        longest = 0.0

        async def other_work() -> None:
            nonlocal turns, longest
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - before)
                turns += 1

        working = asyncio.ensure_future(other_work())
        started = time.monotonic()
        async with session.get(f"{URL}/metrics") as response:
            text = await response.text()
        seconds = time.monotonic() - started
        working.cancel()
        assert text.count("\nmany_total{") == 10_000
        assert longest < seconds
        assert turns > 3


async def test_scrapes_take_turns() -> None:
    async with alone(MetricsServer()) as (server, session):
        at_once = most = 0

        async def slow() -> Families:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return counter("slow", 1)

        server.sources.append(slow)

        async def scrape() -> int:
            async with session.get(f"{URL}/metrics") as response:
                return response.status

        assert await asyncio.gather(*(scrape() for _ in range(5))) == [200] * 5
        assert most == 1


async def test_a_taken_port_is_named() -> None:
    async with alone(MetricsServer()):
        second = MetricsServer()
        with pytest.raises(ListenError, match="can't listen on port 15020"):
            await second.start()
        await second.close()
