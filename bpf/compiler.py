"""The child that compiles: ``/usr/bin/python3 compiler.py`` with a job on stdin.

Runs under Debian's Python, where python3-bpfcc lives, and imports nothing of
this project. BCC with LLVM takes 131 MB: this process pins and exits.

The job, JSON: ``{"parent": pid, "text": C, "cflags": […], "programs": [[name,
type, attach]…], "staging": directory in bpffs}``. Maps pin themselves; each
program is pinned as ``<staging>/<name>``. Exit status 0, or 1 with everything said
on stderr. Dies with its parent, so that a load that was killed pins nothing later.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Compile, verify and pin what stdin asks for."""
    job = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:
        return 1
    from bcc import BPF, lib  # noqa: PLC0415 - so that its absence can be told

    module = BPF(text=job["text"], cflags=job["cflags"])
    for name, kind, attach in job["programs"]:
        program = module.load_func(name.encode(), kind, attach_type=attach)
        path = Path(job["staging"], name)
        if lib.bpf_obj_pin(program.fd, os.fsencode(path)) != 0:
            sys.stderr.write(f"error: {path} can't be pinned\n")
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:  # noqa: BLE001 - bcc raises nothing more exact
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
