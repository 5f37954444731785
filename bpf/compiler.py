"""The child that compiles: ``/usr/bin/python3 compiler.py`` with a job on stdin.

Runs under Debian's Python, where python3-bpfcc lives, and imports of this project only
what needs nothing else. BCC with LLVM takes 131 MB, and keeps it: this process exits.

The job, JSON: ``{"parent": pid, "text": C, "cflags": […], "programs": [name…],
"output": file}``. BCC makes the maps too, since the instructions name them; they go
with this process, which tells how they are made (``bpf/objects.py``). Exit status 0,
or 1 with everything said on stderr. Dies with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from bpf import kernel
from bpf.objects import Compiled, MapSpec, dump, relocated

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Compile what stdin asks for."""
    job = json.load(sys.stdin)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != job["parent"]:
        return 1
    from bcc import BPF, lib  # noqa: PLC0415 - so that its absence can be told

    lib.bpf_table_name.restype = ctypes.c_char_p  # which bcc leaves out
    lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    module = BPF(text=job["text"], cflags=job["cflags"])
    fds = [
        lib.bpf_table_fd_id(module.module, index)
        for index in range(lib.bpf_num_tables(module.module))
    ]
    infos = [kernel.map_info(fd, "of the compiler") for fd in fds]
    names = [lib.bpf_table_name(module.module, index).decode() for index in range(len(fds))]
    numbers = {info.btf for info in infos if info.btf}
    if len(numbers) != 1:
        raise ValueError(f"the maps' types are in {len(numbers)} objects, not one")
    made = Compiled(
        {name: relocated(code_of(lib, module, name), fds.index) for name in job["programs"]},
        tuple(
            MapSpec(
                *(name, info.kind, info.key_size, info.value_size, info.max_entries),
                *(info.flags, info.key_type, info.value_type),
            )
            for name, info in zip(names, infos, strict=True)
        ),
        kernel.types_by_id(numbers.pop(), "of the compiler"),
    )
    Path(job["output"]).write_text(dump(made))
    return 0


def code_of(lib: Any, module: Any, name: str) -> bytes:
    """A program's instructions. Raises ValueError if the text has none of that name."""
    start = lib.bpf_function_start(module.module, name.encode())
    if not start:
        raise ValueError(f"no program {name}")
    return ctypes.string_at(start, lib.bpf_function_size(module.module, name.encode()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception as error:  # noqa: BLE001 - bcc raises nothing more exact
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
