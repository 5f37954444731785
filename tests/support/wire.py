"""What passes through a network namespace, seen by a packet socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bpf.netns import in_netns
from deploy.demo.wire import Packet, parse

ETH_P_ALL = 3
#: Bytes of an Ethernet header.
ETHERNET = 14
#: linux/socket.h, linux/if_packet.h
SOL_PACKET, PACKET_STATISTICS = 263, 6


@dataclass(slots=True)
class Wire:
    """Frames in the order that they passed; lost: what there was no room for."""

    frames: list[bytes] = field(default_factory=list)
    lost: int = 0

    def holding(self, text: bytes) -> list[bytes]:
        """The frames that have this text anywhere in them."""
        return [frame for frame in self.frames if text in frame]

    @property
    def tcp(self) -> list[Packet]:
        """The TCP packets among them."""
        packets = (parse(frame[ETHERNET:]) for frame in self.frames)
        return [packet for packet in packets if packet is not None]


@contextmanager
def tapped(netns: Path) -> Iterator[Wire]:
    """Take down what passes all interfaces of a netns while the block runs."""
    wire = Wire()
    with netns.open() as place, in_netns(place.fileno()):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    tap.settimeout(0.05)
    done = threading.Event()

    def listen() -> None:
        # What passed before the end is read to the end.
        while True:
            try:
                frame = tap.recv(1 << 17)
            except TimeoutError:
                if done.is_set():
                    return
                continue
            wire.frames.append(frame)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield wire
    finally:
        done.set()
        thread.join()
        statistics = tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        wire.lost = int.from_bytes(statistics[4:8], "little")
        tap.close()
