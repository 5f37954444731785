"""Makes maps and programs of what the compiler made, and pins them."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bpf import kernel
from bpf.errors import KernelError, LoadError
from bpf.kernel import NO_TYPES, Types
from bpf.objects import Compiled, MapSpec, relocated
from bpf.sources import Program

#: For the verifier's words about a program that it rejects.
LOG_BYTES = 16 << 20


def install(compiled: Compiled, maps: Path, pins: Path, programs: Iterable[Program]) -> None:
    """Verify programs and pin them as ``pins/<name>``.

    Maps that aren't pinned under ``maps`` yet are made and pinned there, others are
    used as they are. Raises LoadError for what the verifier rejects, KernelError.
    """
    with ExitStack() as stack:
        types = stack.enter_context(closing(kernel.load_types(compiled.btf, "of maps")))
        fds = [
            stack.enter_context(closing(opened(spec, maps / spec.name, types)))
            for spec in compiled.maps
        ]
        for program in programs:
            code = relocated(compiled.programs[program.name], fds.__getitem__)
            with closing(verified(program, code)) as fd:
                kernel.pin(fd, pins / program.name)


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """A file descriptor for as long as the block runs."""
    try:
        yield fd
    finally:
        os.close(fd)


def opened(spec: MapSpec, path: Path, btf: int) -> int:
    """The map that is pinned there; made, if there is none."""
    if path.exists():
        return kernel.open_pin(path)
    types = Types(btf, spec.key_type, spec.value_type) if spec.value_type else NO_TYPES
    fd = kernel.create_map(
        spec.kind,
        (spec.key_size, spec.value_size),
        spec.max_entries,
        spec.name,
        flags=spec.flags,
        types=types,
    )
    try:
        kernel.pin(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def verified(program: Program, code: bytes) -> int:
    """A program in the kernel. Raises LoadError with the verifier's words."""
    try:
        return kernel.load_program(program.kind, program.attach, code, program.name)
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.E2BIG):
            raise
    log = ctypes.create_string_buffer(LOG_BYTES)
    try:
        return kernel.load_program(program.kind, program.attach, code, program.name, log)
    except KernelError as error:
        said = log.value.decode(errors="replace")
        raise LoadError(
            f"the kernel rejects program {program.name}: {reason(said) or error}", said
        ) from None


def reason(log: str) -> str:
    """Why the verifier rejects a program: its last words before its statistics."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    while lines and lines[-1].startswith("processed "):
        lines.pop()
    return lines[-1] if lines else ""
