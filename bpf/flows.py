"""The connections that the programs know of, in their two maps as one table.

A flow is in the slot of ``flow_slots`` that its tuple chooses, or, where another has
that, in the hash ``flows``. What keeps the two together is in include/flows.h alone:
user space reads both, and has the program ``flow_request`` look up, write and end one.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bpf import elements, kernel
from bpf.errors import LayoutError, MapFullError
from bpf.layout import Flow, FlowKey, FlowRequest
from bpf.sources import FLOW_PROGRAM
from bpf.tables import Entries

#: The kernel's, or the same in memory.
Flows = Entries[FlowKey, Flow]
#: struct flow_slot of include/maps.h up to its key.
HEADER: Final = 16
#: A byte of a slot's check word that isn't 0 where there is a flow.
CHECK: Final = 10 if sys.byteorder == "little" else 13
#: struct flow_request up to its key.
REQUEST: Final = struct.Struct("=II")


class RawFlows:
    """Keys and values as the kernel holds them, of whatever layout; holds descriptors."""

    def __init__(self, view: Path) -> None:
        """view: a directory with ``maps`` and ``progs``. Raises KernelError."""
        with ExitStack() as opened:
            self.hash = opened.enter_context(kernel.pinned(view / "maps" / "flows"))
            self.slots = opened.enter_context(kernel.pinned(view / "maps" / "flow_slots"))
            program = view / "progs" / FLOW_PROGRAM.name
            self.program = opened.enter_context(kernel.pinned(program))
            self.hashed = kernel.map_info(self.hash, "flows")
            self.slotted = kernel.map_info(self.slots, "flow_slots")
            self.close = opened.pop_all().close

    @property
    def max_entries(self) -> int:
        """Most flows there is room for, if they share no slot."""
        return self.hashed.max_entries + self.slotted.max_entries

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """All flows, in no order.

        Those that begin or end at this moment may be missed, or be a mixture of two:
        what ``ask`` gets is all of one.
        """
        size, key_size = self.slotted.value_size, self.hashed.key_size
        end = HEADER + key_size + self.hashed.value_size
        for _, slots in elements.batches(self.slots, self.slotted, "flow_slots"):
            for number, taken in enumerate(slots[CHECK::size]):
                if taken:
                    slot = slots[number * size : number * size + end]
                    yield slot[HEADER : HEADER + key_size], slot[HEADER + key_size :]
        yield from elements.entries(self.hash, self.hashed, "flows")

    def ask(self, what: FlowRequest, key: bytes, value: bytes = b"") -> bytes | None:
        """Have the program do something; a flow's value, or None where it did nothing."""
        size = self.hashed.value_size
        request = REQUEST.pack(what, 0) + key + value.ljust(size, b"\0")
        done, answer = kernel.run_program(self.program, request, FLOW_PROGRAM.name)
        return answer[-size:] if done else None


class PinnedFlows:
    """The kernel's flows, opened below a pin directory; holds file descriptors."""

    name = "flows"

    def __init__(self, view: Path) -> None:
        """Raises KernelError when there are no such pins, LayoutError when they differ."""
        self.raw = RawFlows(view)
        found = (self.raw.hashed.key_size, self.raw.hashed.value_size)
        if found != (FlowKey.SIZE, Flow.SIZE):
            self.raw.close()
            raise LayoutError(
                f"flows below {view} have keys and values of {found} bytes, not "
                f"{(FlowKey.SIZE, Flow.SIZE)}: they were made by another version; load the "
                "programs again"
            )

    @property
    def max_entries(self) -> int:
        """Most flows there is room for, if they share no slot."""
        return self.raw.max_entries

    def get(self, key: FlowKey) -> Flow | None:
        """A connection's flow, or None."""
        found = self.raw.ask(FlowRequest.GET, key.pack())
        return None if found is None else Flow.unpack(found)

    def put(self, key: FlowKey, value: Flow) -> None:
        """Write a flow, new or not; raises MapFullError."""
        if self.raw.ask(FlowRequest.PUT, key.pack(), value.pack()) is None:
            raise MapFullError(self.name, self.max_entries)

    def delete(self, key: FlowKey) -> bool:
        """End a flow, and what goes with it; whether there was one."""
        return self.raw.ask(FlowRequest.DELETE, key.pack()) is not None

    def items(self) -> Iterator[tuple[FlowKey, Flow]]:
        """All flows, in no order.

        Those that begin or end at this moment may be missed, or be a mixture of two:
        ``get`` tells.
        """
        for key, value in self.raw.entries():
            yield FlowKey.unpack(key), Flow.unpack(value)

    def close(self) -> None:
        """Close the file descriptors; the flows stay."""
        self.raw.close()
