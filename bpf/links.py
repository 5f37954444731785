"""Links: programs attached to cgroups and to pods' network namespaces.

A pinned link outlives its process and, in a useless state, its target too: links
of targets that are gone are released here.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from bpf import kernel
from bpf.errors import KernelError, LinkError
from bpf.kernel import AttachType
from bpf.sources import POD_PROGRAM

log = logging.getLogger(__name__)

PREFIX = "pod_"
HINTS = {
    errno.EPERM: "an exclusive program is attached to an ancestor, or privilege is missing",
    errno.E2BIG: "64 programs are attached already",
    errno.EBUSY: "a program that allows no other is attached already",
}


def attach_pod(pin_dir: Path, name: str, netns_fd: int) -> None:
    """Guard a pod's network namespace; nothing changes if it is guarded already.

    name: the pod's, any text that is unique on this node. Raises LinkError.
    """
    with kernel.pinned(pin_dir / "progs" / POD_PROGRAM.name) as program:
        settle(
            pod_path(pin_dir, name),
            program,
            netns_fd,
            os.fstat(netns_fd).st_ino,
            POD_PROGRAM.attach,
        )


def detach_pod(pin_dir: Path, name: str) -> None:
    """Stop guarding a pod's network namespace; nothing if it isn't guarded."""
    release(pod_path(pin_dir, name))


def attached_pods(pin_dir: Path) -> set[str]:
    """Names of the pods that are guarded; links of dead ones are released."""
    names = set()
    for path in pod_links(pin_dir):
        with kernel.pinned(path) as link:
            alive = kernel.link_info(link, path.name).target != 0
        if alive:
            names.add(unquote(path.name.removeprefix(PREFIX)))
        else:
            release(path)
    return names


def update_pods(pin_dir: Path) -> None:
    """Give every pod's link the pinned program; links of dead pods are released."""
    attached_pods(pin_dir)
    with kernel.pinned(pin_dir / "progs" / POD_PROGRAM.name) as program:
        wanted = kernel.program_id(program, POD_PROGRAM.name)
        for path in pod_links(pin_dir):
            with kernel.pinned(path) as link:
                if kernel.link_info(link, path.name).program == wanted:
                    continue
                with contextlib.suppress(KernelError):  # its netns died just now
                    kernel.update_link(link, program, path.name)


def settle(path: Path, program: int, target: int, identity: int, attach: AttachType) -> None:
    """Make path a link of an open program to an open target.

    A link that is there is kept if the target is the same, with its program
    replaced in place. identity: what the kernel calls the target in link_info.
    """
    try:
        if path.exists():
            with kernel.pinned(path) as link:
                found = kernel.link_info(link, path.name)
                if found.target == identity:
                    if found.program != kernel.program_id(program, path.name):
                        kernel.update_link(link, program, path.name)
                    return
            release(path)
        link = kernel.create_link(program, target, attach, path.name)
        try:
            kernel.pin(link, path)
        finally:
            os.close(link)
    except KernelError as error:
        hint = HINTS.get(error.errno or 0)
        raise LinkError(f"{error}" + (f" ({hint})" if hint else "")) from error


def release(path: Path) -> None:
    """Detach and unpin a link, if it is there."""
    if not path.exists():
        return
    with kernel.pinned(path) as link, contextlib.suppress(KernelError):
        kernel.detach_link(link, path.name)  # fails when its target is gone
    path.unlink(missing_ok=True)


def pod_links(pin_dir: Path) -> Iterator[Path]:
    """The pinned links of pods."""
    yield from sorted((pin_dir / "links").glob(f"{PREFIX}*"))


def pod_path(pin_dir: Path, name: str) -> Path:
    """A pod's link; bpffs refuses dots and slashes in names."""
    pin_name = PREFIX + quote(name, safe="").replace(".", "%2E")
    if len(pin_name) > 255:
        raise LinkError(f"pod name {name!r} is too long for a pin")
    return pin_dir / "links" / pin_name
