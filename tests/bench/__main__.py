"""`make bench`: a mesh of its own, every case, a table and build/bench.json."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Protocol

from tests.bench import l4, scale, tunnel, waypoint
from tests.bench.measure import Entry, as_json, table
from tests.support.mesh import MeshHandle, leftovers


class Cases(Protocol):
    """A module of cases that need a mesh."""

    def manifests(self) -> dict[str, str]:
        """The mesh's files."""
        ...

    def run(self, mesh: MeshHandle, scratch: Path) -> list[Entry]:
        """Every case."""
        ...


def in_mesh(cases: Cases, scratch: Path) -> list[Entry]:
    """Bring a mesh up, run the cases, take it down."""
    folder = scratch / "mesh"
    folder.mkdir()
    options = ("--access-log", "off")
    if cases is tunnel:
        mesh = tunnel.make("bench", folder, 98, options)
    else:
        mesh = MeshHandle("bench", folder, 98, 1, options)
    for file, text in cases.manifests().items():
        mesh.write(file, text)
    print(f"bench: bringing up a mesh of {mesh.nodes} node(s)", flush=True)
    mesh.start()
    try:
        mesh.wait_ready()
        return cases.run(mesh, scratch)
    finally:
        mesh.stop()


def main(output: Path) -> int:
    """Run every case; the exit status."""
    entries: list[Entry] = []
    for cases in (l4, tunnel, waypoint):
        with tempfile.TemporaryDirectory() as scratch:
            entries += in_mesh(cases, Path(scratch))
    print("bench: a mesh of 100,000 endpoints", flush=True)
    entries += scale.run()
    if left := leftovers("bench"):
        print(f"bench: left behind: {left}", file=sys.stderr)
        return 1
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(as_json(entries), indent=2) + "\n")
    print(f"\nkernel {platform.release()}; interleaved rounds, client and server pinned;")
    print("ratio: median over the rounds of value / value of `against`\n")
    print(table(entries))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench.json")))
