"""Runs the compiler child, and says in one line why it failed.

The child's own maps are of the sizes asked for, and gone before others are made.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from bpf import btf
from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.objects import Compiled, parse
from bpf.sources import HERE, Program

PYTHON = "/usr/bin/python3"
TIMEOUT_SECONDS = 120
UAPI = Path("/usr/include/linux")
UAPI_NAMES = (
    "byteorder",
    *("types.h", "posix_types.h", "stddef.h", "const.h", "bpf_common.h", "swab.h"),
    *("if_packet.h", "if_ether.h", "ptrace.h", "in.h", "in6.h", "tcp.h", "ip.h"),
)
#: What BCC calls an architecture in a kernel's source tree.
KERNEL_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}


def header_tree(root: Path) -> None:
    """What BCC must find of kernel headers: ours, and links to linux-libc-dev's."""
    machine = platform.machine()
    asm = Path(f"/usr/include/{machine}-linux-gnu/asm")
    architecture = root / "arch" / KERNEL_ARCHITECTURES[machine] / "include" / "uapi"
    uapi = root / "include" / "uapi" / "linux"
    for directory in (architecture, uapi, root / "include" / "generated"):
        directory.mkdir(parents=True)
    for ours in ("linux", "asm"):
        (root / "include" / ours).symlink_to(HERE / "headers" / ours)
    for name in UAPI_NAMES:
        (uapi / name).symlink_to(UAPI / name)
    (uapi / "bpf.h").touch()  # BCC brings its own
    (uapi.parent / "asm").symlink_to(asm)
    (uapi.parent / "asm-generic").symlink_to("/usr/include/asm-generic")
    (architecture / "asm").symlink_to(asm)


def compiled(text: str, flags: Sequence[str], programs: Iterable[Program]) -> Compiled:
    """The programs and their maps, made by a child. Raises LoadError."""
    with tempfile.TemporaryDirectory(prefix="tandem-compile-") as scratch:
        tree, output = Path(scratch, "headers"), Path(scratch, "output")
        header_tree(tree)
        job = {
            "parent": os.getpid(),
            "text": text,
            "cflags": list(flags),
            "programs": [program.name for program in programs],
            "output": str(output),
        }
        try:
            child = subprocess.run(
                [PYTHON, "-I", str(HERE / "compiler.py")],
                input=json.dumps(job),
                env={"BCC_KERNEL_SOURCE": str(tree), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LoadError(f"the compiler took over {TIMEOUT_SECONDS} s") from None
        except OSError as error:
            raise LoadError(f"{PYTHON} can't be run: {error.strerror}") from None
        if child.returncode != 0:
            log = child.stdout + child.stderr
            raise LoadError(f"kernel programs can't be compiled: {explain(log)}", log)
        return parse(output.read_text())


def compiler_flags(knobs: Knobs) -> list[str]:
    """What the text is compiled with: sizes, and this kernel's numbers."""
    return [
        "-Wno-everything",  # of BCC's own headers; ours are checked by the tests
        *(f"-D{name}={size}" for name, size in knobs.macros().items()),
        *(f"-D{name}={number}" for name, number in btf.macros().items()),
    ]


def explain(log: str) -> str:
    """The line of a compiler's log that says what is wrong."""
    if "No module named 'bcc'" in log:
        return "BCC isn't installed; apt-get install python3-bpfcc"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if re.search(r"\berror: ", line):
            return line
    return lines[-1] if lines else "the compiler was killed without a word"
