from __future__ import annotations

import asyncio

from waypoint.slicer import WORK, Slicer


async def test_others_have_their_turns_between_slices() -> None:
    loop = asyncio.get_running_loop()
    slicer = Slicer(loop)
    done: list[str] = []
    turns = 0

    def slow() -> bool:
        end = loop.time() + WORK
        while loop.time() < end:
            pass
        done.append("slow")
        return len(done) == 5

    def quick() -> bool:
        done.append("quick")
        return True

    slicer.add(slow)
    slicer.add(quick)
    async with asyncio.timeout(5):
        while slicer.steps:
            turns += 1
            await asyncio.sleep(0)
    assert done == ["slow"] * 5 + ["quick"]
    assert turns > 4


async def test_one_that_fails_holds_nobody_up() -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _loop, context: failures.append(context["exception"]))
    slicer = Slicer(loop)
    done = asyncio.Event()

    def fails() -> bool:
        raise ValueError("no table")

    def works() -> bool:
        done.set()
        return True

    slicer.add(fails)
    slicer.add(works)
    async with asyncio.timeout(5):
        await done.wait()
    assert [str(each) for each in failures] == ["no table"]
    done.clear()
    slicer.add(works)
    async with asyncio.timeout(5):
        await done.wait()
