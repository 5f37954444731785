"""The demo's mesh: `tandem up` as a user runs it, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.cli.dumps import admin_dump
from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace
from deploy.cli.pods import PodRecord
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.standalone.client import ControlClient, ControlError
from deploy.standalone.config import NETNS_DIR, MeshConfig

POLL_SECONDS = 0.1
# The kernel programs are compiled on first use, which takes its time on a small machine.
UP_SECONDS = 120.0
READY_SECONDS = 60.0
WATCH_SECONDS = 10.0
DOWN_SECONDS = 45.0
KEPT_LINES = 50


class DemoMesh:
    """A mesh from `start()` to `stop()`; `folder` holds the files that it watches."""

    def __init__(self, config: MeshConfig, folder: Path, console: Console) -> None:
        self.config = config
        self._folder = folder
        self._console = console
        self._process: subprocess.Popen[str] | None = None
        self._said: deque[str] = deque(maxlen=KEPT_LINES)

    @property
    def control(self) -> ControlClient:
        """A client of the mesh's control plane."""
        return ControlClient(self.config.control_socket)

    def tandem(self, command: str, *arguments: str) -> list[str]:
        """The command line of a `tandem` command on this mesh."""
        return [
            sys.executable,
            "-m",
            "deploy.cli",
            command,
            "--name",
            self.config.name,
            *arguments,
        ]

    @property
    def arguments(self) -> list[str]:
        """What follows `tandem` to bring the mesh up."""
        nodes = str(len(self.config.nodes))
        return ["up", "--name", self.config.name, "--nodes", nodes, "-f", str(self._folder)]

    def pods(self) -> list[PodRecord]:
        """The mesh's pods as the runner describes them."""
        return MeshPlace(self.config.name).pods()

    def start(self) -> None:
        """Start `tandem up`; its progress is shown as it comes."""
        self._process = subprocess.Popen(
            self.tandem(self.arguments[0], *self.arguments[3:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C at the terminal is for the demo alone, which then stops the mesh.
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name="tandem-up", daemon=True)
        self._listener.start()

    def wait(self, what: str, seconds: float, ask: Callable[[], str | None]) -> None:
        """Ask until the answer is None: nothing is missing. Raises StoryError when late."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                missing = ask()
            except (ControlError, CommandError) as error:
                missing = str(error)
            if missing is None:
                return
            assert self._process is not None
            if self._process.poll() is not None:
                self._listener.join(timeout=1)
                last = "; ".join(self._said) or f"exit status {self._process.returncode}"
                raise StoryError(f"{what}: tandem up ended: {last}")
            if time.monotonic() > deadline:
                raise StoryError(f"{what}: not within {seconds:.0f} s: {missing}")
            self._console.waiting(missing)
            time.sleep(POLL_SECONDS)

    def missing(self) -> str | None:
        """What isn't there yet of control plane and node agent."""
        if not self.config.control_socket.exists():
            return "the control plane is starting"
        self.control.table("pods")
        for node in self.config.nodes:
            try:
                admin_dump(NETNS_DIR / self.config.node_netns(node), f"the agent of {node}")
            except CommandError:
                return f"the agent of {node} is starting"
        return None

    def watch(self, what: str, ask: Callable[[Mapping[str, Any]], str | None]) -> None:
        """Ask of every snapshot of the control plane until the answer is None.

        Waits in the control plane, not in a loop of ours: a short state is seen.
        Raises StoryError when late.
        """
        deadline = time.monotonic() + WATCH_SECONDS
        version = ""
        while True:
            snapshot = self.control.snapshot(version, wait=1.0)
            version = snapshot["version"]
            missing = ask(snapshot)
            if missing is None:
                return
            if time.monotonic() > deadline:
                raise StoryError(f"{what}: not within {WATCH_SECONDS:.0f} s: {missing}")
            self._console.waiting(missing)

    def stop(self) -> None:
        """End the mesh as Ctrl-C does; raises StoryError if it doesn't end well."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        deadline = time.monotonic() + DOWN_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                subprocess.run(self.tandem("clean"), check=False)
                raise StoryError(f"tandem up did not end within {DOWN_SECONDS:.0f} s")
            self._console.waiting("the mesh is taken down")
            time.sleep(POLL_SECONDS)
        self._listener.join(timeout=1)
        if process.returncode != 0:
            last = "; ".join(self._said)
            raise StoryError(f"tandem up ended with status {process.returncode}: {last}")

    def _listen(self) -> None:
        process = self._process
        assert process is not None
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._said.append(line.rstrip())
                self._console.dim(line.rstrip())
