"""What enrolment does to a pod's network namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from bpf.codecs import U64
from bpf.errors import BpfError
from bpf.links import attach_pod, attached_pods, detach_pod
from bpf.loader import Stage
from bpf.netns import in_netns, netns_cookie
from daemon.errors import EnrollError

WAITING = (
    "this node agent takes over from one with other maps, and enrols new pods once "
    "it has a complete push of the control plane's"
)
TW_REUSE = Path("/proc/sys/net/ipv4/tcp_tw_reuse")


class PodNetns(Protocol):
    """The effects of enrolment outside of the maps; all of them block."""

    def prepare(self, netns_fd: int) -> int:
        """Make a netns ready for an enrolled pod; its cookie. Raises EnrollError."""
        ...

    def release(self, cookie: int) -> None:
        """Take back what ``prepare`` attached; harmless when nothing is."""
        ...

    def attached(self) -> set[int]:
        """Cookies of the netns that something is attached to."""
        ...


class KernelPodNetns:
    """Socket lookup links, pinned under the cookie of their netns, and a sysctl.

    While programs wait for their maps to be written, those of an earlier process
    serve: the pods that they know, whose links change with the others, and no more.
    """

    def __init__(self, pin_dir: Path, stage: Stage) -> None:
        self.pin_dir = pin_dir
        self.stage = stage

    def prepare(self, netns_fd: int) -> int:
        """Attach the socket lookup and let TIME_WAIT ports be used again at once.

        Many short connections to one waypoint address would run out of ports
        otherwise.
        """
        try:
            cookie = netns_cookie(netns_fd)
            if not self.stage.waiting:
                attach_pod(self.pin_dir, link_name(cookie), netns_fd)
            elif not self.stage.serves("pods", U64.pack(cookie)):
                raise EnrollError(WAITING)
            with in_netns(netns_fd):
                TW_REUSE.write_text("1")
        except (BpfError, OSError) as error:
            raise EnrollError(f"can't prepare the network namespace: {error}") from error
        return cookie

    def release(self, cookie: int) -> None:
        """Detach the socket lookup, and let no earlier process's programs know the pod."""
        if self.stage.waiting:
            self.stage.withdraw("pods", U64.pack(cookie))
        detach_pod(self.pin_dir, link_name(cookie))

    def attached(self) -> set[int]:
        """Cookies of the netns with a socket lookup."""
        return {int(name, 16) for name in attached_pods(self.pin_dir)}


def link_name(cookie: int) -> str:
    """The pin's name: no dot, and the same after a restart."""
    return f"{cookie:x}"
