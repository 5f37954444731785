"""Runs the compiler child, and says in one line why it failed."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

from bpf.errors import LoadError
from bpf.knobs import Knobs
from bpf.sources import HERE, PROGRAMS

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


def compile_programs(text: str, knobs: Knobs, maps: Path, staging: Path) -> None:
    """Compile, verify and pin all programs as ``staging/<name>``, in a child.

    Maps that aren't pinned under ``maps`` yet are made and pinned there, others
    are used as they are. Raises LoadError.
    """
    job = {
        "parent": os.getpid(),
        "text": text,
        "cflags": [
            f'-DPIN_DIR="{maps}"',
            "-Wno-everything",  # of BCC's own headers; ours are checked by the tests
            *(f"-D{name}={size}" for name, size in knobs.macros().items()),
        ],
        "programs": [[program.name, program.kind, program.attach] for program in PROGRAMS],
        "staging": str(staging),
    }
    with tempfile.TemporaryDirectory(prefix="tandem-headers-") as root:
        header_tree(Path(root))
        try:
            child = subprocess.run(
                [PYTHON, "-I", str(HERE / "compiler.py")],
                input=json.dumps(job),
                env={"BCC_KERNEL_SOURCE": root, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
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
        raise LoadError(f"kernel programs can't be loaded: {explain(log)}", log)


def explain(log: str) -> str:
    """The line of a compiler's or verifier's log that says what is wrong."""
    if "No module named 'bcc'" in log:
        return "BCC isn't installed; apt-get install python3-bpfcc"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in lines:
        if re.search(r"\berror: ", line):
            return line
    # The verifier ends with its reason, then statistics; then BCC says "failed".
    for index, line in enumerate(lines):
        if line.startswith("processed ") and index:
            return f"{lines[index - 1]} ({lines[-1]})"
    return lines[-1] if lines else "the compiler was killed without a word"
