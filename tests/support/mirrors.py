"""Holds tests/ to the shape of the source folders.

Every tests/<folder>/test_<module>.py names a module of that folder, and every
folder with modules has tests. Whole-system tests live in tests/e2e, attacks and
bench, what they share in tests/support.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FREE = {"attacks", "e2e", "interop", "bench", "support"}
SOURCES = ("tandem", "ztunnel_compat", "bpf", "daemon", "waypoint", "deploy")


def unpaired() -> Iterator[str]:
    """Every test file that names no source."""
    tests = ROOT / "tests"
    for test in sorted(tests.rglob("test_*.py")):
        inner = test.relative_to(tests)
        if inner.parts[0] in FREE:
            continue
        module = test.stem.removeprefix("test_")
        folder = ROOT / inner.parent
        candidates = [folder / f"{module}.py", folder / module]
        candidates += folder.glob(f"src/{module}.bpf.c")
        candidates += folder.glob(f"include/{module}.h")
        if module == "main":
            candidates.append(folder / "__main__.py")
        if module == "manifests":
            candidates += [*folder.glob("*.yaml"), *folder.glob("*/mesh.yaml")]
        if not any(c.exists() for c in candidates):
            yield f"{test.relative_to(ROOT)} tests no {inner.parent}/{module}"


def untested() -> Iterator[str]:
    """Every source folder without a single test."""
    for top in SOURCES:
        for folder in [ROOT / top, *sorted(p for p in (ROOT / top).rglob("*") if p.is_dir())]:
            if not any(m.stem != "__init__" for m in folder.glob("*.py")):
                continue
            mirror = ROOT / "tests" / folder.relative_to(ROOT)
            if folder.name == "programs":  # run by the samples that they are of
                mirror = ROOT / "tests" / "e2e" / "samples"
            if not any(mirror.glob("test_*.py")):
                yield f"{folder.relative_to(ROOT)} has no tests in {mirror.relative_to(ROOT)}"


if __name__ == "__main__":
    found = [*unpaired(), *untested()]
    sys.stderr.writelines(f"{line}\n" for line in found)
    raise SystemExit(bool(found))
