"""The story: what the demo does, step by step."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.demo import machine, route
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.leftovers import leftovers
from deploy.demo.mesh import READY_SECONDS, UP_SECONDS, DemoMesh
from deploy.demo.picture import caption, draw
from deploy.demo.pods import expected_pods, not_yet_endpoint, still_endpoint, unready, victim
from deploy.demo.split import Split, complaint
from deploy.demo.stream import Answer, Stream, failures

BOOKINFO = Path(__file__).parent.parent / "samples" / "bookinfo"
TRAFFIC = Path(__file__).parent
PAGE = "http://productpage:9080/productpage"

REQUESTS = 500
JASONS = 200
CLIENTS = 4
# More than the story needs: bounds what a stream that nobody stops would send and hold.
LIMIT = 50_000
# An edit is promised to be live this long after the file is saved.
SETTLING = 2.0
# The same for an endpoint that the control plane has taken out: one push.
PUSH = 0.25
# A request that the killed process had begun may have been sent this long before.
LOOK_BACK = 1.0


class Story:
    """One run of the demo. folder: an empty directory for the files of the mesh."""

    def __init__(self, mesh: DemoMesh, folder: Path, console: Console) -> None:
        self._mesh = mesh
        self._folder = folder
        self._console = console
        self._route = folder / "route-reviews.yaml"

    def tell(self) -> None:
        """Go through all steps; raises StoryError at the first that isn't so."""
        console = self._console
        with console.step("Can this machine run a mesh?"):
            console.say(machine.describe(self._mesh.config, BOOKINFO))
        with console.step("A mesh of one node comes up"):
            self._up()
        with console.step("Bookinfo and its waypoint start in it"):
            self._ready()
        with self._stream() as everybody:
            with console.step(f"{REQUESTS} requests through the page, reviews asked 80/20"):
                self._split({"v1": 80, "v2": 20}, everybody.take(REQUESTS))
            with console.step("The route file is edited to 50/50 while requests go on"):
                self._edit_weights(everybody)
            with console.step("A header match: end-user jason gets v2 only"):
                self._edit_header(everybody)
            with console.step("One pod of reviews v2 is killed while requests go on"):
                self._kill(everybody)

    def end(self) -> None:
        """Take the mesh down and look for what it left; raises StoryError if anything."""
        with self._console.step("Everything is taken down"):
            self._mesh.stop()
            left = leftovers(self._mesh.config)
            if left:
                raise StoryError(f"left behind: {'; '.join(left)}")
            self._console.say("no network namespace, cgroup, pin, file or process is left")

    def _up(self) -> None:
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(BOOKINFO, self._folder, ignore=unwanted, dirs_exist_ok=True)
        for name in ("traffic.yaml", "traffic.py"):
            shutil.copy(TRAFFIC / name, self._folder)
        self._console.say(f"$ tandem up --name {self._mesh.config.name} -f {self._folder}")
        self._mesh.start()
        self._mesh.wait("the mesh", UP_SECONDS, self._mesh.missing)
        self._console.say("control plane and node agent answer")

    def _ready(self) -> None:
        expected = expected_pods(self._folder)
        self._mesh.wait(
            "bookinfo",
            READY_SECONDS,
            lambda: unready(self._mesh.control.table("pods").records(), expected),
        )
        pods = self._mesh.control.table("pods").records()
        self._console.say(f"{len(pods)} pods are ready: {_apps(pods)}")
        services = self._mesh.control.snapshot()["services"]
        vip = next(s["vips"][0] for s in services if s["name"] == "productpage")
        self._console.say(f"the page, while this runs: http://{vip}:9080/productpage")

    def _edit_weights(self, everybody: Stream) -> None:
        weights = {"reviews-v1": 50, "reviews-v2": 50}
        counted = self._edit(route.with_weights(self._route.read_text(), weights))
        self._split({"v1": 50, "v2": 50}, everybody.take(REQUESTS, since=counted))
        self._none_failed(everybody)

    def _edit_header(self, everybody: Stream) -> None:
        text = self._route.read_text()
        counted = self._edit(route.with_header_match(text, "end-user", "jason", "reviews-v2"))
        with self._stream("end-user:jason") as jason:
            self._console.say("jason:")
            self._split({"v1": 0, "v2": 100}, jason.take(JASONS, since=counted))
            self._console.say("everybody else:")
            others = everybody.take(REQUESTS, since=counted)
        self._split({"v1": 50, "v2": 50}, others)
        self._none_failed(everybody, jason)

    def _kill(self, everybody: Stream) -> None:
        name, pid = victim(self._mesh.pods(), "reviews-v2")
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self._console.say(f"killed {name} (process {pid})")
        self._mesh.watch("the endpoints", lambda snapshot: still_endpoint(snapshot, name))
        out = time.monotonic()
        safe = out + PUSH
        everybody.take(REQUESTS, since=safe)
        lost = [a for a in failures(everybody.answers(since=killed - LOOK_BACK)) if a.at < safe]
        self._console.say(
            f"out of the endpoints after {out - killed:.2f} s;"
            f" {len(lost)} requests failed until then"
        )
        self._mesh.watch("the pod", lambda snapshot: not_yet_endpoint(snapshot, name))
        self._console.say(f"started again, and back after {time.monotonic() - killed:.1f} s")
        after = everybody.answers(since=safe)
        if failed := failures(after):
            raise StoryError(_first(failed, len(after)))
        self._console.say(f"{len(after)} requests since it was out, none failed")

    def _stream(self, *headers: str) -> Stream:
        argv = self._mesh.tandem("exec", "-n", "bookinfo", "traffic", "--", "python3")
        argv += [str(self._folder / "traffic.py"), PAGE, str(CLIENTS), str(LIMIT), *headers]
        return Stream(argv, self._console.waiting)

    def _edit(self, text: str) -> float:
        """Save the route; returns from when on requests are counted."""
        route.save(self._route, text)
        self._console.say(
            f"{self._route.name} saved; counting what is sent {SETTLING:.0f} s later"
        )
        return time.monotonic() + SETTLING

    def _split(self, asked: Mapping[str, int], answers: Sequence[Answer]) -> None:
        if failed := failures(answers):
            raise StoryError(_first(failed, len(answers)))
        seen = Split.of(answer.version or "" for answer in answers)
        for line in draw(asked, seen, unicode=self._console.unicode):
            self._console.say(line)
        self._console.dim(caption(asked, seen))
        if wrong := complaint(asked, seen):
            raise StoryError(wrong)

    def _none_failed(self, *streams: Stream) -> None:
        answers = [answer for stream in streams for answer in stream.answers()]
        if failed := failures(answers):
            raise StoryError(_first(failed, len(answers)))
        self._console.say(f"{len(answers)} requests so far, none failed")


def _first(failed: Sequence[Answer], total: int) -> str:
    return f"{len(failed)} of {total} requests failed, the first one with {failed[0].error}"


def _apps(pods: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(pod["NAME"].rsplit("-", 2)[0] for pod in pods)
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items()))
