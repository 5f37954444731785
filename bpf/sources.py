"""The kernel programs as one text for BCC, and the tables of what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bpf.kernel import AttachType, ProgType

HERE = Path(__file__).parent
INCLUDE = re.compile(r'#include "(?P<path>[^"]+)"')


class Place(Enum):
    """What a program is attached to."""

    CGROUP = "cgroup"  # the directory above all pods
    POD = "pod"  # each enrolled pod's network namespace
    HOST = "host"  # the node's own network namespace, while cgroups are enrolled
    PROBE = "probe"  # the cgroup that makes probes, where one is given
    SOCKHASH = "sockhash"  # a map of sockets
    NOWHERE = "nowhere"  # nothing: user space runs it


@dataclass(frozen=True, slots=True)
class Program:
    """One hook: the function's name is its pin's name too.

    sockhash: the map that a program of that place is attached to.
    """

    name: str
    kind: ProgType
    attach: AttachType
    place: Place = Place.CGROUP
    sockhash: str = ""


POD_PROGRAM = Program("sk_lookup", ProgType.SK_LOOKUP, AttachType.SK_LOOKUP, Place.POD)
HOST_PROGRAM = Program("sk_lookup_host", ProgType.SK_LOOKUP, AttachType.SK_LOOKUP, Place.HOST)
FLOW_PROGRAM = Program("flow_request", ProgType.SCHED_CLS, AttachType.NONE, Place.NOWHERE)
#: In the order that links are given new programs: whoever reads what another program
#: wrote comes before it. A new reader meets what old writers wrote in any case, since
#: flows outlive a swap; what new writers write, an old reader never has to understand.
PROGRAMS = (
    Program("getsockopt", ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    Program("getpeername4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    Program("getpeername6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    Program("recvmsg4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_RECVMSG),
    Program("recvmsg6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_RECVMSG),
    POD_PROGRAM,
    HOST_PROGRAM,
    Program("probes", ProgType.SOCK_OPS, AttachType.CGROUP_SOCK_OPS, Place.PROBE),
    Program("sk_msg", ProgType.SK_MSG, AttachType.SK_MSG_VERDICT, Place.SOCKHASH, "sockets"),
    Program("sockops", ProgType.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    Program("connect4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    Program("connect6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    Program("bind4", ProgType.CGROUP_SOCK, AttachType.CGROUP_INET4_POST_BIND),
    Program("bind6", ProgType.CGROUP_SOCK, AttachType.CGROUP_INET6_POST_BIND),
    Program("sendmsg4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_SENDMSG),
    Program("sendmsg6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_SENDMSG),
    FLOW_PROGRAM,
)
CGROUP_PROGRAMS = tuple(p for p in PROGRAMS if p.place is Place.CGROUP)
#: What user space writes. These refer to each other, so they are kept or made anew
#: together: new ones are filled while the old ones serve.
PROGRAMMED_MAPS = (
    "pods",
    "members",
    "member_levels",
    "nameservers",
    "addresses",
    "ranges",
    "ports",
    "endpoints",
    "guards",
    "member_guards",
    "chunks",
    "chunk_identities",
    "chunk_sources",
    "chunk_destinations",
    "chunk_ports",
    "hits",
)
#: What the programs write, and marks, which belong to sockets: each is kept as long as
#: its own layout and size are, but for FLOW_MAPS.
KERNEL_MAPS = (
    "flows",
    "flow_slots",
    "listeners",
    "active",
    "sticky",
    "replies",
    "accelerated",
    "sockets",
    "pending",
    "waiting",
    "counters",
    "translated",
    "answers",
    "owners",
    "marks",
    "traffic",
    "blank",
    "limits",
    "narrowing",
    "events",
    "visits",
)
MAPS = (*PROGRAMMED_MAPS, *KERNEL_MAPS)
#: These are kept or made anew together, and then their content is carried over. The
#: programs that write them: for a moment old and new ones run beside each other.
FLOW_MAPS = ("flows", "flow_slots")
CARRIED_BY = ("sockops", "probes")


def program_text() -> str:
    """All programs, each local header once, where it is first included.

    One text, because BCC rewrites map accesses in the main file only. Messages
    still name the files: each piece says where it is from.
    """
    seen: set[Path] = set()
    paths = sorted((HERE / "src").glob("*.bpf.c"))
    return "\n".join(line for path in paths for line in flattened(path, seen)) + "\n"


def flattened(path: Path, seen: set[Path]) -> Iterator[str]:
    """A file's lines, with local headers in the place of their includes."""
    if path in seen:
        return
    seen.add(path)
    shown = path.relative_to(HERE.parent)
    yield f'#line 1 "{shown}"'
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        include = INCLUDE.fullmatch(line)
        if include:
            yield from flattened((path.parent / include["path"]).resolve(), seen)
            yield f'#line {number + 1} "{shown}"'
        else:
            yield line
