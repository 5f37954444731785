"""Checked-in generated code: regenerate (--write), or fail when it isn't current."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def generate(target: Path) -> None:
    """Generate everything below a folder that mirrors the repository's layout."""
    protos = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "proto").glob("*.proto"))
    plugins = (Path(sys.executable).with_name(p) for p in PLUGINS)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
    protoc += [f"--plugin={plugin}" for plugin in plugins]
    messages = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    services = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    subprocess.run([*protoc, *messages, *protos], cwd=ROOT, check=True)
    subprocess.run([*protoc, *services, "proto/ca.proto"], cwd=ROOT, check=True)
    (target / "bpf").mkdir(exist_ok=True)
    layout = target / "bpf" / "layout.py"
    subprocess.run([sys.executable, "-m", "bpf.generate", str(layout)], cwd=ROOT, check=True)


def main(arguments: list[str]) -> int:
    """Compare or write; the exit status."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch)
        generate(target)
        stale = []
        for fresh in sorted(p for p in target.rglob("*") if p.is_file()):
            checked_in = ROOT / fresh.relative_to(target)
            if checked_in.exists() and checked_in.read_bytes() == fresh.read_bytes():
                continue
            stale.append(str(fresh.relative_to(target)))
            if "--write" in arguments:
                shutil.copyfile(fresh, checked_in)
    if stale and "--write" not in arguments:
        sys.stderr.write(f"not current, run `make proto`: {', '.join(stale)}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
