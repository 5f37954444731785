"""`make demo` to its last line."""

from __future__ import annotations

import subprocess
import sys

from tests.support.mesh import ROOT, leftovers


def test_demo_ends_well_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "demo: ok"
    assert leftovers("demo") == []
    assert leftovers("tandem-demo") == []
