"""Random sessions of our connection with one of the `h2` library's.

Each side notes what it did on a stream and what it was told; at the end, when all
that was written has arrived and all credit was given, each must have seen what the
other did: heads, data, trailers, and ends, or a part of it and a reset.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tests.ztunnel_compat.h2.ends import End, Event
from ztunnel_compat.h2.codes import ErrorCode
from ztunnel_compat.h2.connection import Headers, Role, Settings, Stream
from ztunnel_compat.h2.encoder import SECRETS

RST = int(h2.errors.ErrorCodes.CANCEL)


class Log:
    """What happened on one side of one direction of a stream."""

    def __init__(self) -> None:
        self.heads: list[Headers] = []
        self.data = bytearray()
        self.trailers: Headers | None = None
        self.ended = False
        self.reset = False


def random_headers(rng: random.Random, first: Headers) -> Headers:
    names = [b"x-%d" % rng.randrange(8) for _ in range(rng.randrange(6))]
    fields = [(name, b"%x" % rng.getrandbits(rng.choice([1, 2, 400]))) for name in names]
    if rng.random() < 0.2:
        fields.append((rng.choice(sorted(SECRETS - {b"cookie"})), b"secret"))
    if rng.random() < 0.05:
        fields.append((b"x-large", b"y" * 9000))
    return first + fields


def random_request(rng: random.Random) -> Headers:
    kind = rng.random()
    if kind < 0.4:
        return random_headers(rng, [(b":method", b"CONNECT"), (b":authority", b"10.1.2.3:80")])
    method = rng.choice([b"GET", b"POST", b"PUT"])
    path = b"/%d" % rng.choice([1, 2, rng.randrange(1000)])
    return random_headers(
        rng,
        [
            (b":method", method),
            (b":scheme", b"https"),
            (b":path", path),
            (b":authority", b"svc.ns"),
        ],
    )


class Session:
    """One session; role: ours."""

    def __init__(self, seed: int, role: Role) -> None:
        rng = self.rng = random.Random(seed)
        self.role = role
        window = rng.choice([65_535, 65_535, 200_000])
        self.ours = End(
            role,
            Settings(
                stream_window=window,
                connection_window=rng.choice([65_535, 300_000]),
                max_frame=rng.choice([16_384, 100_000]),
                max_streams=rng.choice([5, 100]),
                header_list_limit=64 * 1024,
                held_limit=rng.choice([0, 100_000, 1 << 26]),
                connect_protocol=rng.random() < 0.5,
            ),
            self.on_ours,
        )
        self.ours.consume = False
        self.theirs = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=role is Role.SERVER,
                header_encoding=False,
                validate_inbound_headers=True,
            )
        )
        self.theirs.initiate_connection()
        #: Per stream: what we sent and they saw, what they sent and we saw.
        self.sent: dict[int, Log] = defaultdict(Log)
        self.saw: dict[int, Log] = defaultdict(Log)
        self.they_sent: dict[int, Log] = defaultdict(Log)
        self.we_saw: dict[int, Log] = defaultdict(Log)
        self.streams: dict[int, Stream] = {}
        #: What we have not consumed, what they have not acknowledged.
        self.unread: dict[int, int] = defaultdict(int)
        self.unacknowledged: dict[int, int] = defaultdict(int)
        #: What they want to send: data, and whether and how it ends.
        self.queue: dict[int, deque[bytes]] = defaultdict(deque)
        self.finish: dict[int, Headers | None] = {}
        self.there = bytearray()
        self.back = bytearray()
        self.pings = 0
        #: `h2` takes an acknowledgement for all SETTINGS that are under way.
        self.settings_under_way = True

    # -- our side

    def on_ours(self, _: End, event: Event) -> None:
        kind, stream, *rest = event
        log = self.we_saw[stream]
        if kind in {"request", "response"}:
            assert not log.ended
            log.heads.append(rest[0])
            log.ended = rest[1]
            if kind == "request":
                self.streams[stream] = self.ours.connection.streams[stream]
        elif kind == "data":
            assert not log.ended
            log.data += rest[0]
            log.ended = rest[1]
            self.unread[stream] += len(rest[0])
        elif kind == "trailers":
            assert not log.ended
            log.trailers = rest[0]
            log.ended = True
        elif kind == "reset":
            log.reset = True
        elif kind == "closed":
            raise AssertionError(self.ours.fault)

    def act_ours(self) -> None:
        rng, connection = self.rng, self.ours.connection
        kind = rng.random()
        if self.role is Role.CLIENT and kind < 0.2 and connection.can_open:
            headers = random_request(rng)
            end = headers[0][1] != b"CONNECT" and rng.random() < 0.4
            stream = connection.request(headers, end=end)
            self.streams[stream.id] = stream
            log = self.sent[stream.id]
            log.heads.append(headers)
            log.ended = end
            return
        alive = [s for s in self.streams.values() if not s.finished]
        if kind < 0.3 or not alive:
            connection.ping(b"%08d" % self.pings)
            self.pings += 1
            return
        stream = rng.choice(alive)
        log = self.sent[stream.id]
        if kind < 0.45:
            count = rng.randint(0, self.unread[stream.id])
            self.unread[stream.id] -= count
            connection.consumed(stream, count)
        elif kind < 0.48:
            log.reset = True
            connection.reset(stream, connection_code(rng))
        elif self.role is Role.SERVER and not stream.head_sent:
            if rng.random() < 0.2 and not log.heads:
                connection.respond(stream, [(b":status", b"103")])
                log.heads.append([(b":status", b"103")])
                return
            status = rng.choice([b"200", b"200", b"404", b"503"])
            headers = random_headers(rng, [(b":status", status)])
            log.heads.append(headers)
            log.ended = rng.random() < 0.3
            connection.respond(stream, headers, end=log.ended)
        elif log.ended:
            return
        elif kind < 0.55 and not stream.tunnel:
            log.trailers = [(b"grpc-status", b"%d" % rng.randrange(3))]
            log.ended = True
            connection.send_trailers(stream, log.trailers)
        elif stream.queued < 200_000:
            data = rng.randbytes(rng.choice([0, 1, 100, 5000, 30_000, 100_000]))
            log.data += data
            log.ended = rng.random() < 0.2
            connection.send_data(stream, data, end=log.ended)

    # -- their side

    def receive_theirs(self, data: bytes) -> None:
        # `h2` looks at its limit once a call, before the acknowledgement that raises it.
        self.theirs.max_inbound_frame_size = 70_000
        for event in self.theirs.receive_data(data):
            stream: int = getattr(event, "stream_id", 0) or 0
            log = self.saw[stream]
            match event:
                case h2.events.RequestReceived() | h2.events.ResponseReceived():
                    log.heads.append([(bytes(n), bytes(v)) for n, v in event.headers])
                case h2.events.InformationalResponseReceived():
                    log.heads.append([(bytes(n), bytes(v)) for n, v in event.headers])
                case h2.events.DataReceived():
                    log.data += event.data
                    self.unacknowledged[stream] += event.flow_controlled_length
                case h2.events.TrailersReceived():
                    log.trailers = [(bytes(n), bytes(v)) for n, v in event.headers]
                case h2.events.StreamEnded():
                    log.ended = True
                case h2.events.SettingsAcknowledged():
                    self.settings_under_way = False
                case h2.events.StreamReset():
                    log.reset = True

    def act_theirs(self) -> None:
        rng, theirs = self.rng, self.theirs
        kind = rng.random()
        if kind < 0.05:
            theirs.ping(b"abcdefgh")
        elif kind < 0.08 and not self.settings_under_way:
            key = rng.choice(
                [
                    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE,
                    h2.settings.SettingCodes.HEADER_TABLE_SIZE,
                    h2.settings.SettingCodes.MAX_FRAME_SIZE,
                ]
            )
            value = {
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: [65_535, 100, 0, 500_000],
                h2.settings.SettingCodes.HEADER_TABLE_SIZE: [0, 200, 4096],
                h2.settings.SettingCodes.MAX_FRAME_SIZE: [16_384, 70_000],
            }[key]
            theirs.update_settings({key: rng.choice(value)})
            self.settings_under_way = True
        elif kind < 0.25 and self.role is Role.SERVER and self.may_open():
            stream = theirs.get_next_available_stream_id()
            headers = random_request(rng)
            end = headers[0][1] != b"CONNECT" and rng.random() < 0.4
            log = self.they_sent[stream]
            log.heads.append(headers)
            log.ended = end
            theirs.send_headers(stream, headers, end_stream=end)
        elif self.saw or self.they_sent:
            stream = rng.choice(sorted(self.saw.keys() | self.they_sent.keys()))
            if stream and self.is_open(stream):
                self.act_on(stream)

    def may_open(self) -> bool:
        limit = self.theirs.remote_settings.max_concurrent_streams
        return self.theirs.open_outbound_streams < min(limit, 100)

    def is_open(self, stream: int) -> bool:
        return not (self.they_sent[stream].reset or self.saw[stream].reset)

    def act_on(self, stream: int) -> None:
        rng, theirs, log = self.rng, self.theirs, self.they_sent[stream]
        kind = rng.random()
        if kind < 0.2:
            self.acknowledge(stream, rng.randint(0, self.unacknowledged[stream]))
        elif kind < 0.23:
            # `h2` takes a 1xx response on a stream that it reset for an error.
            answered = self.role is Role.CLIENT or final(self.saw[stream].heads)
            if answered and not (log.ended and self.saw[stream].ended):
                log.reset = True
                self.queue[stream].clear()
                self.finish.pop(stream, None)
                theirs.reset_stream(stream, RST)
        elif self.role is Role.CLIENT and not log.heads:
            headers = random_headers(rng, [(b":status", rng.choice([b"200", b"200", b"404"]))])
            log.heads.append(headers)
            log.ended = rng.random() < 0.3
            theirs.send_headers(stream, headers, end_stream=log.ended)
        elif not log.ended and log.heads and stream not in self.finish:
            if kind < 0.4:
                tunnel = log.heads[0][0][1] == b"CONNECT" or self.tunnels(stream)
                self.finish[stream] = None if tunnel or rng.random() < 0.5 else [(b"x-t", b"1")]
            else:
                self.queue[stream].append(rng.randbytes(rng.choice([1, 50, 3000, 40_000])))
            self.flush(stream)

    def tunnels(self, stream: int) -> bool:
        """Whether the stream's request was CONNECT."""
        return bool(self.saw[stream].heads) and self.saw[stream].heads[0][0][1] == b"CONNECT"

    def acknowledge(self, stream: int, count: int) -> None:
        self.unacknowledged[stream] -= count
        if count:
            try:
                self.theirs.acknowledge_received_data(count, stream)
            except h2.exceptions.StreamClosedError:
                pass

    def flush(self, stream: int) -> None:
        """Send what their windows allow of a stream's queue, padded now and then."""
        theirs, queue, log = self.theirs, self.queue[stream], self.they_sent[stream]
        while queue and self.is_open(stream):
            padding = self.rng.choice([None, None, None, 0, 100, 255])
            room = theirs.local_flow_control_window(stream)
            size = min(room, theirs.max_outbound_frame_size) - (
                0 if padding is None else 1 + padding
            )
            if size <= 0:
                if padding is not None and room > 0:
                    continue
                return
            piece = queue.popleft()
            if len(piece) > size:
                queue.appendleft(piece[size:])
                piece = piece[:size]
            theirs.send_data(stream, piece, pad_length=padding)
            log.data += piece
        if stream in self.finish and self.is_open(stream):
            trailers = self.finish.pop(stream)
            log.ended = True
            if trailers is None:
                theirs.end_stream(stream)
            else:
                log.trailers = trailers
                theirs.send_headers(stream, trailers, end_stream=True)

    # -- the wire

    def carry(self, *, all_of_it: bool = False) -> int:
        """Move bytes, in pieces cut anywhere; how many."""
        rng = self.rng
        moved = 0
        if all_of_it or rng.random() < 0.7:
            self.there += b"".join(self.ours.connection.take_output())
            self.back += self.theirs.data_to_send()
        for wire, receive in (
            (self.there, self.receive_theirs),
            (self.back, self.receive_ours),
        ):
            size = len(wire) if all_of_it else rng.choice([0, 1, 9, 100, 5000, 70_000])
            if size and wire:
                piece = bytes(wire[:size])
                del wire[:size]
                receive(piece)
                moved += len(piece)
        return moved

    def receive_ours(self, data: bytes) -> None:
        kind = self.rng.choice([bytes, bytearray, memoryview])
        self.ours.connection.receive(kind(data))

    def settle(self) -> None:
        """Give all credit and let all that is queued arrive."""
        while self.settings_under_way:
            self.carry(all_of_it=True)
        self.theirs.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 500_000})
        idle = 0
        while idle < 2:
            for identifier, stream in self.streams.items():
                count = self.unread.pop(identifier, 0)
                self.ours.connection.consumed(stream, count if not stream.finished else 0)
            for identifier in list(self.unacknowledged):
                self.acknowledge(identifier, self.unacknowledged[identifier])
            for identifier in list(self.queue.keys() | self.finish.keys()):
                if self.is_open(identifier):
                    self.flush(identifier)
            idle = 0 if self.carry(all_of_it=True) else idle + 1

    def run(self, operations: int) -> None:
        for _ in range(operations):
            self.rng.choice([self.act_ours, self.act_theirs])()
            self.carry()
        self.settle()
        compare(self.sent, self.saw, self.we_saw, self.they_sent)
        compare(self.they_sent, self.we_saw, self.saw, self.sent)
        self.check_accounts()

    def check_accounts(self) -> None:
        """Nothing is held that no stream holds, and no stream is left that has ended."""
        state = self.ours.connection.state
        assert state.inflow.held == sum(s.held for s in state.table.streams.values())
        assert state.sender.spent == 0
        for stream in state.table.streams.values():
            assert not (stream.local_closed and stream.remote_closed)
            assert not stream.queued
        assert self.ours.seen("pong") == [("pong", b"%08d" % i) for i in range(self.pings)]


def compare(
    sent: dict[int, Log], saw: dict[int, Log], heard: dict[int, Log], answered: dict[int, Log]
) -> None:
    """What one side sent is what the other saw; a reset by either cuts it short."""
    for stream in sent.keys() | saw.keys():
        if not stream:
            continue
        there, here = sent[stream], saw[stream]
        cut = any(log[stream].reset for log in (sent, saw, heard, answered))
        cut = cut or answered_early(there, here, answered[stream])
        where: tuple[Any, ...] = (stream, cut)
        if cut:
            assert there.heads[: len(here.heads)] == here.heads, where
            assert there.data.startswith(here.data), where
            assert not here.ended or (there.ended and there.data == here.data), where
        else:
            assert there.heads == here.heads, where
            assert there.data == here.data, where
            assert (there.ended, there.trailers) == (here.ended, here.trailers), where


def final(heads: list[Headers]) -> bool:
    """Whether the last of a response's heads is no informational one."""
    return bool(heads) and heads[-1][0][1][:1] != b"1"


def answered_early(request: Log, here: Log, response: Log) -> bool:
    """Whether a response ended while its request was open, which isn't wanted then."""
    if not response.ended or here.ended or not request.heads:
        return False
    tunnel = request.heads[0][0][1] == b"CONNECT" and response.heads[-1][0][1] == b"200"
    return not tunnel


def connection_code(rng: random.Random) -> ErrorCode:
    return rng.choice([ErrorCode.CANCEL, ErrorCode.NO_ERROR])
