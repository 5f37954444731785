"""What is accelerated, in which order it arrives, and how much may lie unread."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bpf import btf
from bpf.knobs import Knobs
from bpf.layout import (
    Address,
    AddressFlag,
    AddressKey,
    AddressKind,
    Counter,
    Endpoint,
    EndpointKey,
    Flow,
    FlowFlag,
    FlowKey,
    Pod,
    PodFlag,
)
from bpf.loader import Action, load, unload
from bpf.maps import Maps
from tests.bpf.accelerated import (
    PORT,
    Accelerated,
    accelerate,
    connection,
    entries,
    pair_of,
)
from tests.bpf.engine import (
    CLIENT,
    KEEP,
    SERVER,
    SMALL,
    WAYPOINT,
    Engine,
    engine,
    eventually,
    packed,
    place,
)
from tests.support.netns import Netns

VIP = "10.96.1.1"
BOTH = AddressFlag.LOCAL | AddressFlag.ACCELERATE
MESSAGE_COST = 1024
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
TCP_FASTOPEN = 23
TCP_FASTOPEN_CONNECT = 30


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pair(mesh: Engine, client: Netns, server: Netns, family: int) -> Iterator[Accelerated]:
    """A connection with both ends in the map."""
    accelerate(mesh, client, server)
    with connection(mesh, client, server, family) as made:
        yield made


def fill(sender: socket.socket, piece: bytes) -> int:
    """Send until that would block; how many bytes that took."""
    sender.setblocking(False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += sender.send(piece)
    return taken


def drain(receiver: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    pieces = []
    while size:
        pieces.append(receiver.recv(min(size, 1 << 20)))
        assert pieces[-1], f"the end, {size} bytes early"
        size -= len(pieces[-1])
    return b"".join(pieces)


def test_bytes_go_past_tcp_and_are_counted(mesh: Engine, pair: Accelerated) -> None:
    for number in range(1, 4):
        pair.client.sendall(b"request")
        assert pair.server.recv(100) == b"request"
        pair.server.sendall(b"an answer")
        assert pair.client.recv(100) == b"an answer"
        clients, servers = pair.ends()
        assert (clients.sent, servers.sent) == (7 * number, 9 * number)
        assert clients.sent_cost == number * (7 + MESSAGE_COST)
        assert clients.read_cost == clients.sent_cost


def test_the_entry_goes_with_the_client(mesh: Engine, pair: Accelerated) -> None:
    assert len(entries(mesh)) == 1
    pair.client.close()
    assert pair.server.recv(1) == b""
    pair.server.close()
    eventually(lambda: entries(mesh) == [])


def test_the_entry_goes_with_a_flow_that_user_space_ends(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    """Whichever end is the lower one."""
    for one, other in ((client, server), (server, client)):
        accelerate(mesh, one, other)
        with connection(mesh, one, other, family):
            [(key, _flow)] = mesh.maps.flows.items()
            assert [name for name, _ in entries(mesh)] == [pair_of(key).pack()]
            assert mesh.maps.flows.delete(key)
            assert entries(mesh) == []
        mesh.clear()


def test_the_entry_goes_with_a_flow_that_makes_room(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """The end of a connection was missed, and a new one has its tuple."""
    mesh.enroll(client)
    with server.listen(server.v4, PORT), client.open_socket() as s:
        s.bind((client.v4, 0))
        key = FlowKey(packed(client.v4), packed(server.v4), s.getsockname()[1], PORT)
        missed = Flow(CLIENT, flags=FlowFlag.ACCELERATE, netns=client.cookie)
        mesh.maps.flows.put(key, missed)
        mesh.accelerated.put(pair_of(key), bytes(64))
        s.connect((server.v4, PORT))
        flow = mesh.maps.flows.get(key)
        assert flow is not None
        assert not flow.flags & FlowFlag.ACCELERATE
        assert entries(mesh) == []


def test_a_mapped_address_meets_a_plain_one(mesh: Engine, client: Netns, server: Netns) -> None:
    accelerate(mesh, client, server)
    with (
        server.listen(server.v4, PORT) as listener,
        client.open_socket(socket.AF_INET6) as s,
    ):
        s.connect((f"::ffff:{server.v4}", PORT))
        with mesh.counts() as counts, listener.accept()[0] as accepted:
            s.sendall(b"request")
            assert accepted.recv(100) == b"request"
            accepted.sendall(b"answer")
            assert s.recv(100) == b"answer"
        assert counts == {}
        assert len(entries(mesh)) == 1


def test_an_endpoint_of_a_service_is_accelerated(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    accelerate(mesh, client, server)
    mesh.vip(VIP)
    mesh.port(80, [(server.v4, PORT)])
    key = EndpointKey(mesh.generation - 1, 0)  # the IPv4 set comes first
    mesh.maps.endpoints.put(key, Endpoint(packed(server.v4), PORT, flags=BOTH, keep=KEEP))
    assert connects(mesh, client, server, (VIP, 80)) == 1


@pytest.mark.parametrize(
    ("pod_flags", "address_flags"),
    [
        (0, BOTH),
        (PodFlag.ACCELERATE, AddressFlag.LOCAL),
        (PodFlag.ACCELERATE, AddressFlag.ACCELERATE),
    ],
)
def test_both_ends_must_ask_on_one_node(
    mesh: Engine, client: Netns, server: Netns, pod_flags: int, address_flags: int
) -> None:
    accelerate(mesh, client, server)
    mesh.maps.pods.put(client.cookie, Pod(CLIENT, flags=pod_flags))
    value = Address(SERVER, 0, AddressKind.WORKLOAD, address_flags)
    mesh.maps.addresses.put(AddressKey(packed(server.v4)), value)
    assert connects(mesh, client, server, (server.v4, PORT)) == 0


def test_a_client_that_blocks_is_left_alone(mesh: Engine, client: Netns, server: Netns) -> None:
    accelerate(mesh, client, server)
    with mesh.counts() as counts, server.listen(server.v4, PORT), client.open_socket() as s:
        s.settimeout(None)
        s.connect((server.v4, PORT))
        assert entries(mesh) == []
    assert Counter.ACCELERATED not in counts


def test_a_way_by_a_waypoint_is_not_accelerated(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    accelerate(mesh, client, server)
    mesh.vip(VIP, waypoint=WAYPOINT)
    mesh.port(80, [])
    mesh.port(0, [(server.v4, PORT)], WAYPOINT)
    key = EndpointKey(mesh.generation - 1, 0)
    mesh.maps.endpoints.put(key, Endpoint(packed(server.v4), PORT, flags=BOTH, keep=KEEP))
    assert connects(mesh, client, server, (VIP, 80)) == 0


def connects(mesh: Engine, client: Netns, server: Netns, to: tuple[str, int]) -> int:
    """Connect and exchange a word; how many connections were accelerated."""
    with (
        mesh.counts() as counts,
        server.listen(server.v4, PORT) as listener,
        client.open_socket() as s,
    ):
        s.connect(to)
        with listener.accept()[0] as accepted:
            s.sendall(b"word")
            assert accepted.recv(100) == b"word"
            assert len(entries(mesh)) == counts_now(mesh)
    return counts.get(Counter.ACCELERATED, 0)


def counts_now(mesh: Engine) -> int:
    """Flows that are marked as accelerated."""
    return sum(bool(flow.flags & 16) for _key, flow in mesh.maps.flows.items())


def test_a_client_that_was_early_stays_with_tcp(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """Its first bytes complete the handshake: the server isn't in the map before."""
    accelerate(mesh, client, server)
    with server.listen(server.v4, PORT) as listener, client.open_socket() as s:
        with bare_acks_lost(client):
            s.connect((server.v4, PORT))
            s.sendall(b"one ")
        with listener.accept()[0] as accepted:
            accepted.settimeout(10)
            s.sendall(b"two ")
            s.sendall(b"three")
            assert drain(accepted, 13) == b"one two three"
            accepted.sendall(b"answer")
            assert s.recv(100) == b"answer"
            clients, servers = Accelerated(mesh, s, accepted).ends()
            assert (clients.sent, servers.sent) == (0, 6)


@contextlib.contextmanager
def bare_acks_lost(pod: Netns) -> Iterator[None]:
    """What a pod sends without payload is lost: 20 bytes of IP, 32 of TCP."""
    pod.run(["nft", "add table t"])
    pod.run(["nft", "add chain t o { type filter hook output priority 0; }"])
    pod.run(["nft", "add rule t o tcp flags == ack ip length 52 drop"])
    try:
        yield
    finally:
        pod.run(["nft", "delete table t"])


@pytest.mark.parametrize("servers", [518, 0], ids=["taken", "not taken"])
def test_bytes_with_the_syn_keep_their_place(
    mesh: Engine, client: Netns, server: Netns, servers: int
) -> None:
    accelerate(mesh, client, server)
    client.sysctl("net/ipv4/tcp_fastopen", "5")  # client; needs no cookie
    server.sysctl("net/ipv4/tcp_fastopen", str(servers))  # server; needs no cookie, or off
    try:
        with server.listen(server.v4, PORT) as listener, client.open_socket() as s:
            listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 5)
            s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
            s.connect((server.v4, PORT))
            s.sendall(b"one ")
            with listener.accept()[0] as accepted:
                accepted.settimeout(10)
                s.sendall(b"two ")
                s.sendall(b"three")
                assert drain(accepted, 13) == b"one two three"
                accepted.sendall(b"answer")
                assert s.recv(100) == b"answer"
        assert entries(mesh) == []
    finally:
        client.sysctl("net/ipv4/tcp_fastopen", "1")
        server.sysctl("net/ipv4/tcp_fastopen", "1")


def test_a_reader_that_does_not_read_holds_a_budget_and_no_more(
    mesh: Engine, pair: Accelerated
) -> None:
    taken = fill(pair.client, b"x" * 1000)
    clients, _servers = pair.ends()
    assert SMALL.unread - 2024 < clients.sent_cost <= SMALL.unread
    assert taken > clients.sent  # TCP took the rest, up to its own limit
    assert drain(pair.server, taken) == b"x" * taken


def test_small_messages_cost_what_the_kernel_keeps_for_them(
    mesh: Engine, pair: Accelerated
) -> None:
    for _ in range(1000):
        pair.client.sendall(b"x")
    assert pair.ends()[0].sent == SMALL.unread // (1 + MESSAGE_COST)
    assert drain(pair.server, 1000) == b"x" * 1000


def test_one_that_talks_and_never_listens_holds_no_more(
    mesh: Engine, pair: Accelerated
) -> None:
    """An answer proves nothing: what was read does."""
    pair.client.setblocking(False)
    taken = 0
    for _ in range(1000):
        with contextlib.suppress(BlockingIOError):
            taken += pair.client.send(b"x" * 1000)
        pair.server.sendall(b"beat")
        assert pair.client.recv(100) == b"beat"
    clients, servers = pair.ends()
    assert clients.sent_cost <= SMALL.unread
    assert servers.sent_cost > SMALL.unread  # the other way was renewed
    assert drain(pair.server, taken) == b"x" * taken


def test_half_of_a_message_is_not_all_of_it(mesh: Engine, pair: Accelerated) -> None:
    pair.client.sendall(b"question")
    assert pair.server.recv(4) == b"ques"
    pair.server.sendall(b"yes?")
    assert pair.ends()[0].read_cost == 0
    assert pair.server.recv(4) == b"tion"
    pair.server.sendall(b"yes!")
    assert pair.ends()[0].read_cost == 8 + MESSAGE_COST


def test_a_message_over_the_budget_is_tcps_and_so_is_all_after_it(
    mesh: Engine, pair: Accelerated
) -> None:
    size = 2 * SMALL.unread
    pair.client.sendall(b"first")
    sender = threading.Thread(target=pair.client.sendall, args=(b"y" * size,))
    sender.start()
    assert drain(pair.server, 5 + size) == b"first" + b"y" * size
    sender.join()
    pair.server.sendall(b"thanks")
    assert pair.client.recv(100) == b"thanks"
    pair.client.sendall(b"last")
    assert pair.server.recv(100) == b"last"
    clients, servers = pair.ends()
    assert clients.sent % (size // 2) in {5, 5 + size // 4}
    assert servers.sent == 6


@pytest.mark.parametrize("seed", range(40))
def test_the_change_to_tcp_loses_and_reorders_nothing(
    mesh: Engine, client: Netns, server: Netns, seed: int
) -> None:
    """Both ways at once, pieces of all sizes, readers that read as they like."""
    accelerate(mesh, client, server)
    with connection(mesh, client, server) as pair:
        numbers = random.Random(seed)
        streams = [numbers.randbytes(numbers.randrange(1 << 21)) for _ in range(2)]
        ends = [pair.client, pair.server]
        writers = [
            threading.Thread(target=write_pieces, args=(end, stream, seed))
            for end, stream in zip(ends, streams, strict=True)
        ]
        for writer in writers:
            writer.start()
        for end, stream in zip(reversed(ends), streams, strict=True):
            got = bytearray()
            while len(got) < len(stream):
                got += end.recv(numbers.choice([1, 100, 5000, 100000]))
            assert got == stream
        for writer in writers:
            writer.join()
        assert all(one.sent > 0 for one in pair.ends())


def write_pieces(sender: socket.socket, stream: bytes, seed: int) -> None:
    """Send a stream in pieces of random sizes."""
    numbers = random.Random(seed)
    at = 0
    while at < len(stream):
        size = numbers.choice([1, 10, 1000, 9000, 60000])
        sender.sendall(stream[at : at + size])
        at += size


def test_tcp_keeps_what_it_has_when_its_numbers_come_round(
    mesh: Engine, pair: Accelerated
) -> None:
    """After 2^32 bytes write_seq is where it began: here, by moving where it began."""
    size = 2 * SMALL.unread
    sender = threading.Thread(target=pair.client.sendall, args=(b"y" * size,))
    sender.start()
    drain(pair.server, size)
    sender.join()
    clients, servers = pair.ends()
    assert clients.sent == 0
    pair.write(replace(clients, write_seq=(clients.write_seq + size) % (1 << 32)), servers)
    pair.client.sendall(b"next")
    assert pair.server.recv(100) == b"next"
    assert pair.ends()[0].sent == 0


def test_after_shutdown_nothing_is_sent(mesh: Engine, pair: Accelerated) -> None:
    pair.client.sendall(b"last")
    pair.client.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        pair.client.send(b"more")
    assert pair.server.recv(100) == b"last"
    assert pair.server.recv(100) == b""
    pair.server.sendall(b"the other way goes on")
    assert pair.client.recv(100) == b"the other way goes on"
    assert pair.ends()[1].sent == 21


def test_zero_copy_is_tcps(mesh: Engine, pair: Accelerated) -> None:
    """TCP tells the sender when its pages are free; a queue past it never would."""
    so_zerocopy, msg_zerocopy = 60, 0x4000000
    pair.client.setsockopt(socket.SOL_SOCKET, so_zerocopy, 1)
    assert pair.client.sendmsg([b"z" * 9000], [], msg_zerocopy) == 9000
    assert drain(pair.server, 9000) == b"z" * 9000
    eventually(lambda: told(pair.client))
    assert pair.ends()[0].sent == 0


def told(s: socket.socket) -> bool:
    """Whether a notification is in the error queue."""
    s.setblocking(False)
    try:
        return bool(s.recvmsg(1, 256, socket.MSG_ERRQUEUE)[1])
    except BlockingIOError:
        return False


def test_a_full_map_leaves_connections_to_tcp(client: Netns, server: Netns) -> None:
    sizes = Knobs(
        pods=8, addresses=8, ports=8, endpoints=64, flows=16, pending=8, accelerated=2
    )
    with engine("few", sizes) as mesh, contextlib.ExitStack() as stack:
        accelerate(mesh, client, server)
        with mesh.counts() as counts:
            pairs = [stack.enter_context(connection(mesh, client, server)) for _ in range(4)]
            for pair in pairs:
                pair.client.sendall(b"word")
                assert pair.server.recv(100) == b"word"
        assert counts[Counter.ACCELERATED] == 2
        assert counts[Counter.ACCELERATE_FULL] == 2


def test_without_types_the_programs_load_and_nothing_is_accelerated(
    client: Netns, server: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(btf, "macros", dict)
    with engine("no-btf") as mesh:
        accelerate(mesh, client, server)
        with mesh.counts() as counts, connection(mesh, client, server) as pair:
            pair.client.sendall(b"word")
            assert pair.server.recv(100) == b"word"
            assert entries(mesh) == []
    assert Counter.ACCELERATED not in counts


@pytest.mark.parametrize("how", ["swap", "rebuild", "unload"])
def test_what_lies_unread_outlives_the_programs(client: Netns, server: Netns, how: str) -> None:
    with place("outlive") as where, where.joined():
        load(where.pin_dir, where.cgroup, SMALL)
        maps = Maps.open(where.pin_dir)
        accelerate(Engine(where, maps), client, server)
        with connection(Engine(where, maps), client, server) as pair:
            pair.client.sendall(b"before ")
            assert pair.ends()[0].sent == 7
            maps.close()
            if how == "unload":
                unload(where.pin_dir)
            else:
                other = Knobs(pods=8) if how == "rebuild" else SMALL
                (where.pin_dir / "progs" / "sk_msg").unlink()
                done = load(where.pin_dir, where.cgroup, other).action
                assert done is (Action.SWAP if how == "swap" else Action.REBUILD)
            pair.client.sendall(b"after")
            assert drain(pair.server, 12) == b"before after"
            pair.server.sendall(b"answer")
            assert pair.client.recv(100) == b"answer"
            if how == "swap":
                assert pair.ends()[0].sent == 12


def test_a_new_program_takes_new_connections(client: Netns, server: Netns) -> None:
    with place("renew") as where, where.joined():
        load(where.pin_dir, where.cgroup, SMALL)
        (where.pin_dir / "progs" / "sk_msg").unlink()
        assert load(where.pin_dir, where.cgroup, SMALL).action is Action.SWAP
        maps = Maps.open(where.pin_dir)
        try:
            mesh = Engine(where, maps)
            accelerate(mesh, client, server)
            with connection(mesh, client, server) as pair:
                pair.client.sendall(b"word")
                assert pair.server.recv(100) == b"word"
                assert pair.ends()[0].sent == 4
        finally:
            maps.close()


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_comes_after_what_was_sent(mesh: Engine, pair: Accelerated, who: str) -> None:
    one, other = pair.client, pair.server
    if who == "server":
        one, other = other, one
    one.sendall(b"last words")
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    one.close()
    assert other.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError):
        other.recv(100)
    eventually(lambda: entries(mesh) == [])
