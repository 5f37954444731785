"""`make bench`: a mesh of its own, every case, a table and build/bench.json."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path

from tests.bench import l4
from tests.bench.measure import Entry, as_json, table
from tests.support.mesh import MeshHandle, leftovers


def main(output: Path) -> int:
    """Run every case; the exit status."""
    entries: list[Entry] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "mesh"
        folder.mkdir()
        mesh = MeshHandle("bench", folder, 98)
        for file, text in l4.manifests().items():
            mesh.write(file, text)
        print("bench: bringing up a mesh", flush=True)
        mesh.start()
        try:
            mesh.wait_ready()
            entries += l4.run(mesh, Path(scratch))
        finally:
            mesh.stop()
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
