"""`python -m deploy.demo`: tells the story; exit status 0 if all of it is so."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from deploy.cli.errors import CommandError
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.evidence import keep_logs
from deploy.demo.mesh import DemoMesh
from deploy.demo.story import Story
from deploy.standalone.client import ControlError
from deploy.standalone.config import MeshConfig, node_names

NAME = "demo"
NODES = 2


def main() -> int:
    """Run the demo; whatever happens, the mesh is taken down."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console.of(sys.stdout)
    console.plain("Tandem: bookinfo on two nodes, first without a mesh, then with one")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tandem-demo-") as folder:
        mesh = DemoMesh(MeshConfig(name=NAME, nodes=node_names(NODES)), Path(folder), console)
        failed = _tell(Story(mesh, Path(folder), console), mesh, console)
    if failed is not None:
        console.plain(f"\ndemo: failed at step {failed}")
        return 1
    console.plain(f"\n{time.monotonic() - started:.0f} s in all")
    console.plain("demo: ok")
    return 0


def _tell(story: Story, mesh: DemoMesh, console: Console) -> str | None:
    """Tell the story and end the mesh; returns the title of the first step that failed."""
    failed = None
    try:
        story.tell()
    except KeyboardInterrupt:
        failed = console.title
        console.fail("interrupted")
    except (StoryError, CommandError, ControlError) as error:
        failed = console.title
        console.fail(f"not so: {error}")
        if kept := keep_logs(mesh.config):
            console.say(f"the logs of the mesh are kept in {kept}")
    finally:
        # A second Ctrl-C would leave half of a mesh; the taking down has a time limit.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            story.end()
        except StoryError as error:
            failed = failed or console.title
            console.fail(f"not so: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
