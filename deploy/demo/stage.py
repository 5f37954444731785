"""What all steps stand on: the mesh, its files, and requests made from its pods."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.cli.pods import PodRecord
from deploy.demo import route
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.mesh import DemoMesh
from deploy.demo.picture import caption, draw
from deploy.demo.split import Split, complaint
from deploy.demo.stream import Answer, Stream, failures

PAGE = "http://productpage:9080/productpage"
CLIENTS = 4
# More than the story needs: bounds what a stream that nobody stops would send and hold.
LIMIT = 200_000
# An edit is promised to be live this long after the file is saved.
SETTLING = 2.0
# For a policy to be in force: an edit's promise, tenfold, and the time of an attempt.
POLICY_SECONDS = 20.0
ASK_SECONDS = 30.0


@dataclass(frozen=True)
class Asked:
    """What became of one request: the answer's status, or what went wrong."""

    status: int | None
    error: str | None

    def __str__(self) -> str:
        return self.error or f"status {self.status}"


class Stage:
    """One run's mesh. folder: the files that it watches."""

    def __init__(self, mesh: DemoMesh, folder: Path, console: Console) -> None:
        self.mesh = mesh
        self.folder = folder
        self.console = console

    def pod(self, prefix: str) -> PodRecord:
        """The first pod whose name begins so; raises StoryError."""
        for pod in self.mesh.pods():
            if pod.name.startswith(prefix):
                return pod
        raise StoryError(f"no pod {prefix} runs")

    def save(self, name: str, text: str) -> None:
        """Write a watched file as an editor does, and say so."""
        route.save(self.folder / name, text)
        self.console.say(f"{name} saved")

    def add(self, file: Path, about: str) -> None:
        """Copy a file to those that are watched, and say what is in it."""
        route.save(self.folder / file.name, file.read_text())
        self.console.say(f"{file.name} added: {about}")

    # ---- requests

    def ask(self, pod: PodRecord, url: str, *headers: str) -> Asked:
        """Have a pod make one request on a connection of its own; raises StoryError."""
        argv = self.mesh.tandem("exec", "-n", pod.namespace, pod.name, "--", "python3")
        done = subprocess.run(
            [*argv, str(self.folder / "ask.py"), url, *headers],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )
        if done.returncode:
            raise StoryError(f"tandem exec in {pod}: {done.stderr.strip()}")
        return Asked(**json.loads(done.stdout))

    def answered(self, pod: PodRecord, url: str, *headers: str) -> None:
        """Have a pod make a request that must be answered; say so. Raises StoryError."""
        asked = self.ask(pod, url, *headers)
        if asked.status != 200:
            raise StoryError(f"{pod.name} asked {url}: {asked}")
        self.console.say(f"{pod.name} asks {url}: {asked.status}")

    def refused(self, pod: PodRecord, url: str) -> None:
        """Wait until a pod's requests are refused; say how. Raises StoryError."""
        last = Asked(None, None)

        def missing() -> str | None:
            nonlocal last
            last = self.ask(pod, url)
            return f"{pod.name} is still answered by {url}" if last.error is None else None

        self.mesh.wait(f"{url} is closed to {pod.name}", POLICY_SECONDS, missing)
        self.console.say(f"{pod.name} asks {url}: {last}")

    def stream(self, *headers: str) -> Stream:
        """Requests for the page that go on from the traffic pod."""
        argv = self.mesh.tandem("exec", "-n", "bookinfo", "traffic", "--", "python3")
        argv += [str(self.folder / "traffic.py"), PAGE, str(CLIENTS), str(LIMIT), *headers]
        return Stream(argv, self.console.waiting)

    # ---- what must be so

    def none_failed(self, *streams: Stream) -> None:
        """Say that no request failed so far; raises StoryError."""
        answers = [answer for stream in streams for answer in stream.answers()]
        self.check(answers)
        self.console.say(f"{len(answers)} requests for the page so far, none failed")

    def split(self, asked: Mapping[str, int], answers: Sequence[Answer]) -> None:
        """Show how answers divide over versions; raises StoryError if not as asked."""
        self.check(answers)
        seen = Split.of(answer.version or "" for answer in answers)
        for line in draw(asked, seen, unicode=self.console.unicode):
            self.console.say(line)
        self.console.dim(caption(asked, seen))
        if wrong := complaint(asked, seen):
            raise StoryError(wrong)

    @staticmethod
    def check(answers: Sequence[Answer]) -> None:
        """Raise StoryError if one of these requests failed."""
        if failed := failures(answers):
            raise StoryError(
                f"{len(failed)} of {len(answers)} requests failed, the first one with "
                f"{failed[0].error}"
            )

    @staticmethod
    def settling() -> float:
        """From when on requests count after an edit."""
        return time.monotonic() + SETTLING
