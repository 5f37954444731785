"""Runs a sk_lookup program on a made-up packet, as bpf(2) allows since Linux 5.13."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

from bpf import kernel
from bpf.addresses import V4_MAPPED

#: struct bpf_sk_lookup: cookie, family, protocol, then the two ends.
CONTEXT = struct.Struct("=QII4s16s2s2x4s16sI8x")
#: prog_fd, retval, four words of data, repeat, duration, context's sizes and places.
ATTRIBUTES = struct.Struct("=IIIIQQIIIIQQIII4x")


class LookupProgram:
    """A pinned sk_lookup program."""

    def __init__(self, path: Path) -> None:
        self.fd = kernel.open_pin(path)

    def close(self) -> None:
        os.close(self.fd)

    def passes(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        port: int,
        protocol: int = socket.IPPROTO_TCP,
    ) -> bool:
        """Whether a packet of this tuple passes; addresses of 16 bytes."""
        return self.run(context(source, source_port, destination, port, protocol), 1)[0]

    def run(self, packet: bytes, times: int) -> tuple[bool, int]:
        """Whether it passes, and the nanoseconds that it takes on average."""
        holder = ctypes.create_string_buffer(packet, len(packet))
        attributes = bytearray(
            ATTRIBUTES.pack(
                *(self.fd, 0, 0, 0, 0, 0, times, 0),
                *(len(packet), 0, kernel.address(holder), 0, 0, 0, 0),
            )
        )
        kernel.bpf(kernel.Command.PROG_TEST_RUN, attributes, "sk_lookup")
        values = ATTRIBUTES.unpack(attributes)
        return values[1] == 1, values[7]


def context(
    source: bytes, source_port: int, destination: bytes, port: int, protocol: int
) -> bytes:
    """The context that a packet makes."""
    four = source.startswith(V4_MAPPED)
    return CONTEXT.pack(
        0,
        socket.AF_INET if four else socket.AF_INET6,
        protocol,
        source[12:] if four else bytes(4),
        bytes(16) if four else source,
        source_port.to_bytes(2),
        destination[12:] if four else bytes(4),
        bytes(16) if four else destination,
        port,
    )
