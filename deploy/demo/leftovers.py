"""What a mesh has left on the machine, looked for without the mesh's own help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bpf import mounts
from deploy.standalone.config import NETNS_DIR, MeshConfig


def leftovers(config: MeshConfig, proc: Path = Path("/proc")) -> list[str]:
    """Name every netns, interface, pin, cgroup, mount, file and process of this mesh."""
    mounted = mounts.current()
    found = [
        f"network namespace {path.name}"
        for path in _children(NETNS_DIR)
        if config.owns_netns(path.name)
    ]
    places = {
        "interface": Path("/sys/class/net") / config.host_interface,
        "pins": config.pins,
        "state": config.state_dir,
        "lock": config.lock_file,
    }
    found += [f"{kind} {path}" for kind, path in places.items() if path.exists()]
    groups = [config.cgroup(mount.point) for mount in mounted if mount.kind == "cgroup2"]
    found += [f"cgroup {group}" for group in groups if group.exists()]
    inside = [mount.point for mount in mounted if config.state_dir in mount.point.parents]
    found += [f"mount {point}" for point in inside]
    return found + list(_processes(proc, config))


def _processes(proc: Path, config: MeshConfig) -> Iterator[str]:
    """Processes in the mesh's cgroup, or that were started on its state directory."""
    group = f"/tandem-{config.name}/"
    folder = str(config.state_dir).encode()
    for process in _children(proc):
        if not process.name.isdecimal():
            continue
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            groups = (process / "cgroup").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        if not any(arguments):
            continue  # dead, and only waits for its parent to take notice
        of_folder = any(a == folder or a.startswith(folder + b"/") for a in arguments)
        if of_folder or any(group in f"{line}/" for line in groups):
            yield f"process {process.name} {b' '.join(arguments).decode(errors='replace')}"


def _children(path: Path) -> Iterable[Path]:
    return path.iterdir() if path.is_dir() else ()
