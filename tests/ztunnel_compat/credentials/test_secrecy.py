from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FORBID = "from ztunnel_compat.credentials.secrecy import forbid_dumps; forbid_dumps(); "


def dumps_core(code: str, folder: Path) -> bool:
    """Whether a Python process that aborts at the end of some code leaves a core."""
    command = 'ulimit -c unlimited && cd "$0" && exec "$@"'
    argv = ["sh", "-c", command, str(folder), sys.executable, "-c", code + "os.abort()"]
    child = os.posix_spawn("/bin/sh", argv, os.environ | {"PYTHONPATH": str(ROOT)})
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    return os.WCOREDUMP(status)


def test_no_core_is_written(tmp_path: Path) -> None:
    assert dumps_core("import os; ", tmp_path), "no process here does (kernel.core_pattern)"
    for core in tmp_path.iterdir():
        core.unlink()
    assert not dumps_core("import os; " + FORBID, tmp_path)
    assert not list(tmp_path.iterdir())
