"""Writes requirements.lock and requirements-dev.lock: pinned, hashed, no addresses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {
    "requirements.lock": ["install"],
    "requirements-dev.lock": ["install", "dev"],
}
#: These install top-level packages named like two of ours.
SHADOWING = ("python-daemon", "proto-plus")


def write(name: str, extras: list[str]) -> None:
    """Compile one lock file; raises SystemExit when a package would shadow ours."""
    command = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-header"]
    command += ["--allow-unsafe", "--strip-extras", "--no-annotate"]
    command += [argument for extra in extras for argument in ("--extra", extra)]
    subprocess.run([*command, "-o", name, "pyproject.toml"], cwd=ROOT, check=True)
    text = (ROOT / name).read_text()
    for package in SHADOWING:
        if f"\n{package}==" in text:
            raise SystemExit(f"{name}: {package} would shadow a package of ours")


if __name__ == "__main__":
    for lock, lock_extras in LOCKS.items():
        write(lock, lock_extras)
