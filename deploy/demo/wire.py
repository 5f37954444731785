"""What passes between two pods, seen where an eavesdropper between the nodes would be."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from bpf.netns import in_netns

ETH_P_ALL = 3
OUTGOING = 4  # PACKET_OUTGOING: what the bridge passes on is seen as it comes
TCP = 6
FRAME = 1 << 17
POLL_SECONDS = 0.1
SETTLE_SECONDS = 0.5
#: Packets that are kept; a request or two has a few dozen.
LIMIT = 10_000
PRINTABLE = re.compile(rb"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet. ports: source and destination; payload: what an application sent."""

    ends: frozenset[str]
    ports: tuple[int, int]
    payload: bytes


class Tap:
    """Takes down what passes between two pods, in both directions, until it is left.

    netns: of the bridge between the nodes; here, there: the addresses of each pod.
    Two meshes' worth of other traffic is passed over. Raises OSError.
    """

    def __init__(self, netns: Path, here: Collection[str], there: Collection[str]) -> None:
        self._netns = netns
        self._pairs = {frozenset((one, other)) for one in here for other in there}
        self._done = threading.Event()
        self.packets: list[Packet] = []

    def __enter__(self) -> Self:
        with self._netns.open("rb") as place, in_netns(place.fileno()):
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)
            )
        self._socket.settimeout(POLL_SECONDS)
        self._thread = threading.Thread(target=self._listen, name="tap", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The last packets of what was just done are on their way here.
        self._done.wait(SETTLE_SECONDS)
        self._done.set()
        self._thread.join()
        self._socket.close()

    def holding(self, text: bytes) -> list[Packet]:
        """The packets that have a text in them for everybody to read."""
        return [packet for packet in self.packets if text in packet.payload]

    def outside_of(self, port: int) -> list[Packet]:
        """The packets of which neither end is this port."""
        return [packet for packet in self.packets if port not in packet.ports]

    def _listen(self) -> None:
        while not self._done.is_set() and len(self.packets) < LIMIT:
            try:
                content, (_, _, direction, *_) = self._socket.recvfrom(FRAME)
            except TimeoutError:
                continue
            packet = None if direction == OUTGOING else parse(content)
            if packet is not None and packet.ends in self._pairs:
                self.packets.append(packet)


def parse(content: bytes) -> Packet | None:
    """Read an IP packet; None for anything but TCP (IPv6 without extension headers)."""
    version = content[0] >> 4 if content else 0
    if version == 4 and len(content) >= 20:
        kind, start, length = content[9], (content[0] & 15) * 4, 4
        end, at = int.from_bytes(content[2:4], "big"), 12
    elif version == 6 and len(content) >= 40:
        kind, start, length = content[6], 40, 16
        end, at = 40 + int.from_bytes(content[4:6], "big"), 8
    else:
        return None
    if kind != TCP or len(content) < start + 20:
        return None
    ends = [content[at : at + length], content[at + length : at + 2 * length]]
    ports = (
        int.from_bytes(content[start : start + 2], "big"),
        int.from_bytes(content[start + 2 : start + 4], "big"),
    )
    payload = content[start + (content[start + 12] >> 4) * 4 : end]
    return Packet(frozenset(str(ip_address(one)) for one in ends), ports, payload)


def legible(payload: bytes, around: bytes, width: int = 70) -> str:
    """The readable line of a payload that holds a text, at most `width` characters."""
    line = next(line for line in payload.split(b"\r\n") if around in line)
    first = PRINTABLE.match(payload)
    head = first.group().decode() if first else ""
    text = line.decode("ascii", "replace")
    return (head if head == text else f"{head} … {text}")[:width]
