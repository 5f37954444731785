"""The parent of several processes: with children that do as tests say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.waypoint.mesh import until
from waypoint.workers import Worker, Workers
from ztunnel_compat.runtime.tasks import Tasks

#: Answers like a worker at its socket: ready once there is a file of its name with
#: ".ready" at its end.
SERVES = """
import asyncio, os, signal
from pathlib import Path
from ztunnel_compat.runtime.admin import Admin
async def main():
    path = Path(os.environ["ADMIN_SOCKET"])
    admin = Admin(path)
    admin.unready = "" if path.with_suffix(".ready").exists() else "waiting"
    admin.pages["/config_dump"] = lambda: {"pid": os.getpid()}
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    await admin.start()
    await end.wait()
    await admin.close()
end = asyncio.Event()
asyncio.run(main())
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@asynccontextmanager
async def kept(folder: Path, program: str, count: int = 2) -> AsyncIterator[Workers]:
    command = (sys.executable, "-c", program)
    workers = Workers(count, folder, os.environ | {"PYTHONPATH": "."}, command)
    async with Tasks() as tasks:
        for worker in workers.workers:
            tasks.spawn(workers.keep(worker), "worker")
        try:
            yield workers
        finally:
            await workers.end(10)
            assert tasks.failure is None


async def answers(workers: Workers, status: int) -> list[str]:
    """What all say to whether they are ready, once each has answered with a status."""
    async with asyncio.timeout(15):
        while True:
            found = await workers.ask("/healthz/ready")
            if all(each == status and "answer" not in text for each, text in found):
                return [text for _, text in found]
            await asyncio.sleep(0.05)


async def test_each_is_asked_by_itself(tmp_path: Path) -> None:
    (tmp_path / "1.ready").touch()
    async with kept(tmp_path, SERVES) as workers:
        await until(lambda: all(w.path.exists() for w in workers.workers), 15)
        found: list[tuple[int, str]] = []
        async with asyncio.timeout(15):
            while {status for status, _ in found} != {200, 503}:
                found = await workers.ask("/healthz/ready")
        assert found == [(503, "not ready: waiting\n"), (200, "ready\n")]
        (_, first), (_, second) = await workers.ask("/config_dump")
        assert first != second


async def test_what_ends_is_started_again_after_a_while(tmp_path: Path) -> None:
    async with kept(tmp_path, "raise SystemExit(3)", 1) as workers:
        (worker,) = workers.workers
        await until(lambda: worker.starts >= 3, 15)
        await until(lambda: worker.process is None and worker.reason != "starting", 15)
        assert worker.reason == "ended with status 3"
        found = await worker.get("/healthz/ready")
        assert found[0] == 503
    assert worker.process is None


async def test_the_end_is_theirs_too(tmp_path: Path) -> None:
    for name in ("0.ready", "1.ready"):
        (tmp_path / name).touch()
    async with kept(tmp_path, SERVES) as workers:
        await answers(workers, 200)
        processes = [w.process for w in workers.workers]
        await workers.end(10)
        assert [p.returncode for p in processes if p] == [0, 0]
        assert [w.starts for w in workers.workers] == [1, 1]


async def test_who_doesn_t_end_is_ended(tmp_path: Path) -> None:
    async with kept(tmp_path, STUBBORN, 1) as workers:
        (worker,) = workers.workers
        await until(lambda: worker.process is not None, 15)
        process = worker.process
        assert process is not None
        await until(lambda: ignores_sigterm(process.pid), 15)
        await workers.end(0.1)
        assert process.returncode == -signal.SIGKILL


def ignores_sigterm(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigIgn:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


async def test_nobody_there(tmp_path: Path) -> None:
    worker = Worker(0, tmp_path / "0.sock")
    assert await worker.get("/healthz/ready") == (503, "starting")
