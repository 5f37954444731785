"""Finding the processes of a mesh from outside, as an operator would."""

from __future__ import annotations

from pathlib import Path

from tests.support.mesh import MeshHandle


def process(mesh: MeshHandle, module: str, node: str = "") -> int:
    """The process that runs a module of ours within this mesh, and for a node."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            cgroup = (entry / "cgroup").read_text()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if (
            module.encode() in arguments
            and (not node or f"NODE_NAME={node}".encode() in environment.split(b"\0"))
            and b"-m" in arguments
            and (
                f"tandem-{mesh.name}" in cgroup
                or mesh.name.encode() in b"\0".join(arguments) + environment
            )
        ):
            return int(entry.name)
    raise KeyError(module)
