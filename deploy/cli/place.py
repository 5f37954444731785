"""A mesh by its name: whether it runs, and what it says of its pods."""

from __future__ import annotations

import json

from deploy.cli.errors import CommandError
from deploy.cli.pods import PodRecord
from deploy.standalone.client import ControlClient, ControlUnreachableError
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.lock import runner_pid


def one(names: list[str], wanted: str | None, kind: str) -> str:
    """The name that is wanted, or the only one; raises CommandError."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names:
        return wanted
    there = ", ".join(names) or "none"
    if wanted is None:
        raise CommandError(f"which {kind}? name one of: {there}")
    raise CommandError(f"no {kind} {wanted!r}; there is: {there}")


class MeshPlace:
    """A mesh that is expected to run on this machine."""

    def __init__(self, name: str) -> None:
        self.config = MeshConfig(name=name)

    def require(self) -> None:
        """Raise CommandError unless the mesh runs."""
        if runner_pid(self.config) is None:
            raise self.not_running()

    def control(self) -> ControlClient:
        """Return a client of the mesh's control plane; raises CommandError if none runs."""
        self.require()
        return ControlClient(self.config.control_socket)

    def node(self, wanted: str | None) -> str:
        """A node of the mesh; without a name, the only one. Raises CommandError."""
        self.require()
        nodes = sorted(path.name for path in self.config.state_dir.glob("nodes/*"))
        return one(nodes, wanted, "node")

    def not_running(self) -> CommandError:
        """The error that says how to start this mesh, or how to clean up after it."""
        name = "" if self.config.name == MeshConfig().name else f" --name {self.config.name}"
        start = f"start one with `tandem up{name} -f DIR`"
        if self.config.state_dir.is_dir():
            start += f", or remove what a killed one left with `tandem clean{name}`"
        return CommandError(f"no mesh named {self.config.name} is running: {start}")

    def unreachable(self, error: ControlUnreachableError) -> CommandError:
        """The error for a mesh that runs, but whose control plane gives no answer."""
        return CommandError(
            f"the control plane of mesh {self.config.name} does not answer; it may be starting:"
            f" try again, or see {self.config.process_log('control')} ({error.__cause__})"
        )

    def pods(self) -> list[PodRecord]:
        """Return the pods that the runner describes; needs no control plane."""
        self.require()
        records = []
        for file in sorted(self.config.state_dir.glob("pods/*/*/pod.json")):
            try:
                records.append(PodRecord.parse(json.loads(file.read_text()), file.parent))
            except FileNotFoundError:
                continue  # taken away meanwhile
            except (ValueError, KeyError) as error:
                raise CommandError(f"{file} is not a pod's record: {error!r}") from error
        return records
