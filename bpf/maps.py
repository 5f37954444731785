"""All maps that user space reads or writes: the kernel's, or the same in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bpf.codecs import U32, U64, Codec, K, V, codec
from bpf.flows import Flows, PinnedFlows
from bpf.knobs import Knobs
from bpf.layout import (
    Address,
    AddressKey,
    Chunk,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    Guard,
    Hit,
    IdentityRulesKey,
    Listener,
    LocalAddress,
    Pod,
    Port,
    PortKey,
    PortRulesKey,
    RangeKey,
    RangeRulesKey,
    Reply,
    ReplyKey,
    Rules,
    Sticky,
    StickyKey,
)
from bpf.limits import Limits, MemoryLimits, PinnedLimits
from bpf.marks import Marks, MemoryMarks, PinnedMarks
from bpf.percpu import Counts, MemorySums, PinnedCounters, PinnedCounts, PinnedSums, Sums
from bpf.ringbuf import MemoryRing, PinnedRing, Ring
from bpf.tables import MemoryTable, PinnedTable, Table

POD = codec(Pod)
ADDRESS_KEY = codec(AddressKey)
ADDRESS = codec(Address)
PORT_KEY = codec(PortKey)
PORT = codec(Port)
ENDPOINT_KEY = codec(EndpointKey)
ENDPOINT = codec(Endpoint)
RANGE_KEY = codec(RangeKey)
LOCAL_ADDRESS = codec(LocalAddress)
LISTENER = codec(Listener)
GUARD = codec(Guard)
STICKY_KEY = codec(StickyKey)
STICKY = codec(Sticky)
REPLY_KEY = codec(ReplyKey)
REPLY = codec(Reply)
FLOW_KEY = codec(FlowKey)
FLOW = codec(Flow)
CHUNK = codec(Chunk)
IDENTITY_RULES_KEY = codec(IdentityRulesKey)
RANGE_RULES_KEY = codec(RangeRulesKey)
PORT_RULES_KEY = codec(PortRulesKey)
RULES = codec(Rules)
HIT = codec(Hit)


@dataclass(frozen=True, slots=True)
class Maps:
    """Every map that user space reads or writes; counters: read all of them."""

    pods: Table[int, Pod]  # by netns cookie
    members: Table[int, Pod]  # by cgroup id
    member_levels: Table[int, int]  # its one entry, 0: where in the tree members are
    addresses: Table[AddressKey, Address]
    ranges: Table[RangeKey, Address]
    ports: Table[PortKey, Port]
    endpoints: Table[EndpointKey, Endpoint]
    guards: Table[LocalAddress, Guard]
    listeners: Table[Listener, int]  # the workload that is bound there
    member_guards: Table[int, Guard]  # by workload
    flows: Flows
    nameservers: Table[LocalAddress, int]
    sticky: Table[StickyKey, Sticky]
    replies: Table[ReplyKey, Reply]
    chunks: Table[int, Chunk]  # by number
    chunk_identities: Table[IdentityRulesKey, Rules]
    chunk_sources: Table[RangeRulesKey, Rules]
    chunk_destinations: Table[RangeRulesKey, Rules]
    chunk_ports: Table[PortRulesKey, Rules]
    hits: Counts[Hit]
    counters: Callable[[], dict[Counter, int]]
    traffic: Sums
    limits: Limits
    marks: Marks  # by descriptor
    events: Ring  # one reader at a time
    close: Callable[[], None]

    @classmethod
    def open(cls, view: Path) -> Maps:
        """The maps that are pinned below a pin directory, or a Stage's view of one.

        Raises KernelError.
        """
        maps = view / "maps"
        with contextlib.ExitStack() as opened:

            def table(name: str, keys: Codec[K], values: Codec[V]) -> PinnedTable[K, V]:
                return opened.enter_context(
                    contextlib.closing(PinnedTable(maps / name, keys, values))
                )

            flows = opened.enter_context(contextlib.closing(PinnedFlows(view)))
            counters = PinnedCounters(maps / "counters")
            opened.callback(counters.close)
            hits = opened.enter_context(contextlib.closing(PinnedCounts(maps / "hits", HIT)))
            traffic = opened.enter_context(contextlib.closing(PinnedSums(maps / "traffic")))
            limits = opened.enter_context(contextlib.closing(PinnedLimits(maps / "limits")))
            marks = opened.enter_context(contextlib.closing(PinnedMarks(maps / "marks")))
            events = opened.enter_context(contextlib.closing(PinnedRing(maps / "events")))
            return cls(
                pods=table("pods", U64, POD),
                members=table("members", U64, POD),
                member_levels=table("member_levels", U32, U32),
                addresses=table("addresses", ADDRESS_KEY, ADDRESS),
                ranges=table("ranges", RANGE_KEY, ADDRESS),
                ports=table("ports", PORT_KEY, PORT),
                endpoints=table("endpoints", ENDPOINT_KEY, ENDPOINT),
                guards=table("guards", LOCAL_ADDRESS, GUARD),
                listeners=table("listeners", LISTENER, U64),
                member_guards=table("member_guards", U64, GUARD),
                flows=flows,
                nameservers=table("nameservers", LOCAL_ADDRESS, U32),
                sticky=table("sticky", STICKY_KEY, STICKY),
                replies=table("replies", REPLY_KEY, REPLY),
                chunks=table("chunks", U32, CHUNK),
                chunk_identities=table("chunk_identities", IDENTITY_RULES_KEY, RULES),
                chunk_sources=table("chunk_sources", RANGE_RULES_KEY, RULES),
                chunk_destinations=table("chunk_destinations", RANGE_RULES_KEY, RULES),
                chunk_ports=table("chunk_ports", PORT_RULES_KEY, RULES),
                hits=hits,
                counters=counters,
                traffic=traffic,
                limits=limits,
                marks=marks,
                events=events,
                close=opened.pop_all().close,
            )

    @classmethod
    def memory(cls, knobs: Knobs | None = None) -> Maps:
        """Maps of this process alone, with the same bounds; counters stay 0."""
        sizes = knobs or Knobs()
        return cls(
            pods=MemoryTable("pods", sizes.pods, U64, POD),
            members=MemoryTable("members", sizes.members, U64, POD),
            member_levels=MemoryTable("member_levels", 1, U32, U32),
            addresses=MemoryTable("addresses", sizes.addresses, ADDRESS_KEY, ADDRESS),
            ranges=MemoryTable("ranges", sizes.ranges, RANGE_KEY, ADDRESS),
            ports=MemoryTable("ports", sizes.ports, PORT_KEY, PORT),
            endpoints=MemoryTable("endpoints", sizes.endpoints, ENDPOINT_KEY, ENDPOINT),
            guards=MemoryTable("guards", sizes.guards, LOCAL_ADDRESS, GUARD),
            listeners=MemoryTable("listeners", sizes.listeners, LISTENER, U64),
            member_guards=MemoryTable("member_guards", sizes.members, U64, GUARD),
            flows=MemoryTable("flows", sizes.flows, FLOW_KEY, FLOW),
            nameservers=MemoryTable("nameservers", sizes.nameservers, LOCAL_ADDRESS, U32),
            sticky=MemoryTable("sticky", sizes.sticky, STICKY_KEY, STICKY),
            replies=MemoryTable("replies", sizes.replies, REPLY_KEY, REPLY),
            chunks=MemoryTable("chunks", sizes.chunks, U32, CHUNK),
            chunk_identities=MemoryTable(
                "chunk_identities", sizes.chunk_identities, IDENTITY_RULES_KEY, RULES
            ),
            chunk_sources=MemoryTable(
                "chunk_sources", sizes.chunk_sources, RANGE_RULES_KEY, RULES
            ),
            chunk_destinations=MemoryTable(
                "chunk_destinations", sizes.chunk_destinations, RANGE_RULES_KEY, RULES
            ),
            chunk_ports=MemoryTable("chunk_ports", sizes.chunk_ports, PORT_RULES_KEY, RULES),
            hits=MemoryTable("hits", sizes.hits, HIT, U64),
            counters=lambda: dict.fromkeys(Counter, 0),
            traffic=MemorySums("traffic", sizes.traffic),
            limits=MemoryLimits(),
            marks=MemoryMarks(),
            events=MemoryRing(),
            close=lambda: None,
        )
