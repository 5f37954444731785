"""The story: what the demo does, step by step."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.demo import machine
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.leftovers import leftovers
from deploy.demo.mesh import READY_SECONDS, UP_SECONDS, DemoMesh
from deploy.demo.namespace import with_labels
from deploy.demo.pods import expected_pods, unready
from deploy.demo.routing import BOOKINFO, ROUTE, WAYPOINT, Routing
from deploy.demo.security import Security
from deploy.demo.stage import Stage

HERE = Path(__file__).parent
#: What the story adds later on.
LATER = (WAYPOINT, ROUTE)


class Story:
    """One run of the demo. folder: an empty directory for the files of the mesh."""

    def __init__(self, mesh: DemoMesh, folder: Path, console: Console) -> None:
        self._mesh = mesh
        self._folder = folder
        self._console = console
        self._stage = Stage(mesh, folder, console)

    def tell(self) -> None:
        """Go through all steps; raises StoryError at the first that isn't so."""
        step = self._console.step
        with step("Can this machine run a mesh?"):
            self._console.say(machine.describe(self._mesh.config, BOOKINFO))
        with step("Two nodes come up"):
            self._up()
        with step("Bookinfo starts on them"):
            self._ready()
        with self._stage.stream() as everybody:
            security = Security(self._stage, everybody)
            routing = Routing(self._stage, everybody)
            with step("No mesh: who is between the nodes reads along"):
                security.plain()
            with step("L4 by a label: the namespace joins while requests go on"):
                security.enrol()
            with step("Between the nodes: mutual TLS, and a proven caller"):
                security.identity()
            with step("STRICT: a plaintext client is refused"):
                security.strict()
            with step("An AuthorizationPolicy: a pod of the mesh is refused"):
                security.policy()
            with step("L7 by a waypoint: reviews are split 80/20"):
                routing.waypoint()
            with step("The route file is edited to 50/50 while requests go on"):
                routing.weights()
            with step("A header match: end-user jason gets v2 only"):
                routing.header()
            with step("One pod of reviews v2 is killed while requests go on"):
                routing.kill()

    def end(self) -> None:
        """Take the mesh down and look for what it left; raises StoryError if anything."""
        with self._console.step("Everything is taken down"):
            self._mesh.stop()
            left = leftovers(self._mesh.config)
            if left:
                raise StoryError(f"left behind: {'; '.join(left)}")
            self._console.say("no network namespace, cgroup, pin, file or process is left")

    def _up(self) -> None:
        unwanted = shutil.ignore_patterns("__pycache__", *LATER)
        shutil.copytree(BOOKINFO, self._folder, ignore=unwanted, dirs_exist_ok=True)
        for name in ("traffic.yaml", "traffic.py", "ask.py"):
            shutil.copy(HERE / name, self._folder)
        namespace = self._folder / "bookinfo.yaml"
        namespace.write_text(with_labels(namespace.read_text(), {}))
        self._console.say(f"$ tandem {' '.join(self._mesh.arguments)}")
        self._mesh.start()
        self._mesh.wait("the mesh", UP_SECONDS, self._mesh.missing)
        self._console.say("control plane and node agents answer")

    def _ready(self) -> None:
        expected = expected_pods(self._folder)
        self._mesh.wait(
            "bookinfo",
            READY_SECONDS,
            lambda: unready(self._mesh.control.table("pods").records(), expected),
        )
        pods = self._mesh.control.table("pods").records()
        for node in self._mesh.config.nodes:
            here = [pod for pod in pods if pod["NODE"] == node]
            self._console.say(f"{node}: {_apps(here) or 'no pod'}")
        services = self._mesh.control.snapshot()["services"]
        vip = next(s["vips"][0] for s in services if s["name"] == "productpage")
        self._console.say(f"the page, while this runs: http://{vip}:9080/productpage")


def _apps(pods: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(pod["NAME"].rsplit("-", 2)[0] for pod in pods)
    return ", ".join(name if n == 1 else f"{n} {name}" for name, n in sorted(counts.items()))
