"""A mesh as a user would run it: `tandem up` in a process of its own.

Everything a test does to it goes through the command line, the watched files and
the pods' own programs; the handle only saves typing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.demo import leftovers as search
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.launch import exec_argv

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "e2e" / "programs"
TANDEM = [sys.executable, "-m", "deploy.cli"]


def eventually(ask: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Ask until the answer is true; fails naming what was waited for."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := ask():
                return last
        except (OSError, ValueError, KeyError, IndexError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {last!r}")


class CommandError(ValueError):
    """A command of a user's ended with a status other than 0."""


class MeshHandle:
    """A running mesh of some nodes. folder: the watched files; name: names all it made.

    options: more of `tandem up`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        octet: int,
        nodes: int = 1,
        options: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.nodes = nodes
        self.options = options
        self.folder = folder
        self.octet = octet
        self.output = folder.parent / f"{name}.out"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        """Where the running mesh keeps its state."""
        return Path("/run/tandem") / self.name

    @property
    def command(self) -> list[str]:
        """The command line."""
        return TANDEM

    @property
    def environment(self) -> dict[str, str]:
        """The environment for the command line: the repository importable."""
        return os.environ | {"PYTHONPATH": str(ROOT)}

    def write(self, file: str, text: str) -> Path:
        """Write a watched file, atomically, as editors do."""
        path = self.folder / file
        scratch = path.with_suffix(".tmp")
        scratch.write_text(text)
        scratch.replace(path)
        return path

    def start(self) -> None:
        """Run `tandem up` on the folder; returns at once."""
        arguments = ["up", "-f", str(self.folder), "--name", self.name]
        arguments += ["--pod-cidr", f"10.{self.octet}.0.0/16"]
        arguments += ["--pod-cidr", f"fd00:10:{self.octet}::/48"]
        arguments += ["--service-cidr", f"10.{self.octet + 1}.0.0/16"]
        arguments += ["--service-cidr", f"fd00:10:{self.octet + 1}::/112"]
        arguments += ["--nodes", str(self.nodes)] if self.nodes > 1 else []
        arguments += self.options
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def stop(self) -> int:
        """Ctrl-C, as the user would; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def kill(self) -> None:
        """End it with no chance to clean up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @contextmanager
    def up(self) -> Iterator[MeshHandle]:
        """Run it for the block; then it ends well and leaves nothing."""
        self.start()
        try:
            self.wait_ready()
            yield self
        finally:
            status = self.stop()
        assert status == 0, self.output.read_text()
        assert leftovers(self.name) == []

    def tandem(self, *arguments: str, check: bool = True, **more: Any) -> str:
        """Run the command line against this mesh; what it prints."""
        command, *rest = arguments
        done = subprocess.run(
            [*TANDEM, command, "--name", self.name, *rest],
            capture_output=True,
            env=self.environment,
            cwd=ROOT,
            timeout=120,
            check=False,
            **more,
        )
        if check and done.returncode:
            raise CommandError(f"tandem {' '.join(arguments)}: {done.stderr.decode()}")
        return done.stdout.decode() if check else (done.stdout + done.stderr).decode()

    def dump(self, what: str, *name: str) -> dict[str, Any]:
        """`tandem dump`, decoded."""
        value: dict[str, Any] = json.loads(self.tandem("dump", what, *name))
        return value

    def rows(self, kind: str) -> list[dict[str, str]]:
        """`tandem get`, a dictionary per row, keys in lower case."""
        table = json.loads(self.tandem("get", kind, "-o", "json"))
        columns = [c.lower() for c in table["columns"]]
        return [dict(zip(columns, row, strict=True)) for row in table["rows"]]

    def pod(self, prefix: str, namespace: str = "default") -> dict[str, Any]:
        """The one pod whose name begins so, as the runner describes it."""
        folders = sorted((self.state / "pods" / namespace).glob(f"{prefix}*/pod.json"))
        if not folders:
            raise KeyError(f"no pod {namespace}/{prefix}*")
        value: dict[str, Any] = json.loads(folders[0].read_text())
        return value

    def argv(self, pod: dict[str, Any], command: Sequence[str]) -> list[str]:
        """What to run to have a command run inside a pod."""
        return exec_argv(pod, list(command))

    def run(
        self, prefix: str, *command: str, namespace: str = "default", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a pod to its end."""
        done = subprocess.run(
            self.argv(self.pod(prefix, namespace), command),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise CommandError(f"{command} in {prefix}: {done.returncode} {done.stderr}")
        return done

    @contextmanager
    def steady(
        self, prefix: str, url: str, *headers: str, namespace: str = "default"
    ) -> Iterator[Steady]:
        """Requests going on in a pod while the body runs."""
        argv = self.argv(
            self.pod(prefix, namespace),
            ["/usr/bin/python3", str(PROGRAMS / "steady.py"), url, *headers],
        )
        with Steady(argv, self.folder.parent / f"steady-{time.monotonic_ns()}.jsonl") as steady:
            yield steady

    def wait_ready(self, seconds: float = 180.0) -> None:
        """Until every pod of the mesh is ready."""

        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"tandem up ended: {self.output.read_text()}")
            if not (self.state / "control.sock").exists():
                return False
            counts = [row["ready"].split("/") for row in self.rows("pods")]
            return bool(counts) and all(have == want for have, want in counts)

        eventually(ready, "pods ready", seconds)


class Steady:
    """A program of requests that goes on until the end of the block."""

    def __init__(self, argv: list[str], output: Path) -> None:
        self.argv = argv
        self.output = output

    def __enter__(self) -> Steady:
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=output)
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)

    def answers(self) -> list[dict[str, Any]]:
        """Every whole line so far."""
        lines = self.output.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def more(self, count: int, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Wait for this many further answers; those."""
        start = len(self.answers())
        eventually(lambda: len(self.answers()) >= start + count, f"{count} answers", seconds)
        return self.answers()[start:]

    def failures(self) -> list[dict[str, Any]]:
        """Every answer that was none."""
        return [a for a in self.answers() if not a["ok"]]


def leftovers(name: str) -> list[str]:
    """What a mesh of this name has left on the machine; empty when all is well."""
    return search.leftovers(MeshConfig(name=name))
