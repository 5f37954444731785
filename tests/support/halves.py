"""The whole suite as two runs side by side: most tests wait more than they compute.

The halves share nothing of the machine: one has the tests that bring up meshes (names,
ranges and ports of which there is one each), the other those that have their own engine,
network namespaces or nothing at all.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
#: Folders whose tests bring up meshes; the other half has all the rest.
MESHES = ("deploy", "e2e")
#: Packets that may wait for a processor. By the kernel's default, 1,000, bulk traffic of
#: one half pushes out the other's, whose tests count what the kernel saw of each SYN.
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
ROOM = 100_000


def halves() -> dict[str, list[str]]:
    """By name: the folders of each half."""
    found = sorted({path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")})
    return {
        "engines": [f"tests/{name}" for name in found if name not in MESHES],
        "meshes": [f"tests/{name}" for name in MESHES],
    }


async def run(name: str, folders: list[str], more: list[str]) -> int:
    """Run one half, showing its lines with its name; pytest's exit status."""
    start = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", *folders, *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=1 << 20,
    )  # fmt: skip
    assert process.stdout is not None
    async for line in process.stdout:
        print(f"{name}: {line.decode(errors='replace').rstrip()}", flush=True)
    status = await process.wait()
    print(f"{name}: ended with {status} after {time.monotonic() - start:.0f} s", flush=True)
    return status


async def both(more: list[str]) -> int:
    """Run both to their end; 0 when both are well."""
    runs = [run(name, folders, more) for name, folders in halves().items()]
    return int(any(await asyncio.gather(*runs)))


@contextmanager
def room_for_packets() -> Iterator[None]:
    """Let more packets wait, for as long as both run."""
    before = BACKLOG.read_text()
    BACKLOG.write_text(str(ROOM))
    try:
        yield
    finally:
        BACKLOG.write_text(before)


if __name__ == "__main__":
    with room_for_packets():
        status = asyncio.run(both(sys.argv[1:]))
    sys.exit(status)
