"""sk_msg: what programs meet on an accelerated connection, and volumes by hash."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import platform
import random
import select
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpf.layout import Counter
from tests.bpf.accelerated import PORT, Accelerated, accelerate, connection, entries
from tests.bpf.engine import Engine, eventually
from tests.support.netns import Netns

MIB = 1 << 20
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture
def pair(mesh: Engine, client: Netns, server: Netns) -> Iterator[Accelerated]:
    """A connection with both ends in the map."""
    accelerate(mesh, client, server)
    with connection(mesh, client, server) as made:
        yield made


def receive(receiver: socket.socket) -> bytes:
    """All until the end."""
    return b"".join(iter(lambda: receiver.recv(MIB), b""))


def converse(pair: Accelerated, volume: int, seed: int) -> int:
    """Turns of random sizes, both ways, checked by hash; how much went past TCP."""
    numbers = random.Random(seed)
    noise = numbers.randbytes(MIB)
    sent, got = hashlib.blake2b(), hashlib.blake2b()
    ends = [pair.client, pair.server]
    while volume > 0:
        size = numbers.choice([1, 100, 4000, 60_000, 120_000])
        start = numbers.randrange(MIB - size)
        piece = noise[start : start + size]
        ends[0].sendall(piece)
        sent.update(piece)
        left = size
        while left:
            arrived = ends[1].recv(left)
            assert arrived
            got.update(arrived)
            left -= len(arrived)
        volume -= size
        ends.reverse()
    assert got.digest() == sent.digest()
    return sum(end.sent for end in pair.ends())


def stream(pair: Accelerated, volume: int) -> None:
    """One way, checked by hash."""
    noise = random.Random(volume).randbytes(4 * MIB)
    sent, got = hashlib.blake2b(), hashlib.blake2b()

    def send() -> None:
        for start in range(0, volume, len(noise)):
            piece = noise[: min(len(noise), volume - start)]
            sent.update(piece)
            pair.client.sendall(piece)
        pair.client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    buffer = bytearray(MIB)
    while count := pair.server.recv_into(buffer):
        got.update(memoryview(buffer)[:count])
    sender.join()
    assert got.digest() == sent.digest()


def test_turns_arrive_whole(mesh: Engine, pair: Accelerated) -> None:
    volume = 200 * MIB
    assert converse(pair, volume, 1) >= volume


def test_a_stream_arrives_whole(mesh: Engine, pair: Accelerated) -> None:
    stream(pair, 200 * MIB)


@pytest.mark.soak
def test_ten_gibibytes_arrive_whole(mesh: Engine, client: Netns, server: Netns) -> None:
    accelerate(mesh, client, server)
    with connection(mesh, client, server) as pair:
        stream(pair, 5 << 30)
    with connection(mesh, client, server) as pair:
        assert converse(pair, 5 << 30, 2) >= 5 << 30


def test_words_go_to_and_fro(mesh: Engine, pair: Accelerated) -> None:
    for end in (pair.client, pair.server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(20_000):
        word = number.to_bytes(4, "big")
        pair.client.sendall(word)
        assert pair.server.recv(100) == word
        pair.server.sendall(word)
        assert pair.client.recv(100) == word
    assert [end.sent for end in pair.ends()] == [80_000, 80_000]


def test_thousands_of_short_connections(mesh: Engine, client: Netns, server: Netns) -> None:
    """Each says a word, is answered and closes; nothing is left of any."""
    accelerate(mesh, client, server)
    each, callers = 1000, 4
    with mesh.counts() as counts, server.listen(server.v4, PORT, 1024) as listener:

        def serve() -> None:
            for _ in range(each * callers):
                accepted, _peer = listener.accept()
                with accepted:
                    accepted.settimeout(10)
                    accepted.sendall(accepted.recv(100)[::-1])

        def call() -> int:
            for number in range(each):
                with client.open_socket() as s:
                    s.connect((server.v4, PORT))
                    word = f"word {number}".encode()
                    s.sendall(word)
                    assert receive(s) == word[::-1]
            return each

        server_thread = threading.Thread(target=serve)
        server_thread.start()
        with concurrent.futures.ThreadPoolExecutor(callers) as pool:
            made = sum(
                future.result() for future in [pool.submit(call) for _ in range(callers)]
            )
        server_thread.join()
    assert counts[Counter.ACCELERATED] == made
    eventually(lambda: entries(mesh) == [])


@pytest.mark.parametrize("who", ["client", "server"])
def test_each_half_closes_by_itself(mesh: Engine, pair: Accelerated, who: str) -> None:
    one, other = pair.client, pair.server
    if who == "server":
        one, other = other, one
    one.sendall(b"all that I say")
    one.shutdown(socket.SHUT_WR)
    assert receive(other) == b"all that I say"
    for _ in range(3):
        other.sendall(b"go on")
        assert one.recv(100) == b"go on"
    other.close()
    assert one.recv(100) == b""


def test_what_was_sent_before_a_close_arrives(mesh: Engine, pair: Accelerated) -> None:
    pair.client.sendall(b"a" * 50_000)
    pair.client.close()
    assert receive(pair.server) == b"a" * 50_000


def ends(say: Callable[[], object]) -> bool:
    """Whether saying something again and again fails as it does when a peer is gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            say()
        except (BrokenPipeError, ConnectionResetError):
            return True
    return False


def test_a_killed_peer_is_noticed_after_its_last_words(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    code = (
        "import socket,sys; l=socket.create_server((sys.argv[1],8080));"
        "print('up',flush=True); s=l.accept()[0]; s.sendall(s.recv(9)+b' and on');"
        "print('said',flush=True); sys.stdin.read()"
    )
    accelerate(mesh, client, server)
    with (
        server.popen(["/usr/bin/python3", "-c", code, server.v4]) as process,
        client.open_socket() as s,
    ):
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        with mesh.counts() as counts:
            s.connect((server.v4, PORT))
            s.sendall(b"something")
            assert process.stdout.readline() == "said\n"
        assert counts[Counter.ACCELERATED] == 1
        process.kill()
        process.wait()
        assert receive(s) == b"something and on"
        assert ends(lambda: s.sendall(b"anyone?"))
    eventually(lambda: entries(mesh) == [])


def test_a_peer_killed_while_it_is_sent_to_ends_the_sender(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    code = (
        "import socket,sys; l=socket.create_server((sys.argv[1],8080));"
        "print('up',flush=True); s=l.accept()[0]\n"
        "while 1: s.sendall(s.recv(65536)[:1])"
    )
    accelerate(mesh, client, server)
    with (
        server.popen(["/usr/bin/python3", "-c", code, server.v4]) as process,
        client.open_socket() as s,
    ):
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        s.connect((server.v4, PORT))
        for _ in range(1000):
            s.sendall(b"x" * 1000)
            assert s.recv(1)
        process.kill()
        assert ends(lambda: s.sendall(b"x" * 1000))


def test_sendfile(mesh: Engine, pair: Accelerated) -> None:
    with tempfile.TemporaryFile() as file:
        content = os.urandom(100_000)
        file.write(content)
        file.flush()
        for _ in range(5):
            assert os.sendfile(pair.client.fileno(), file.fileno(), 0, 100_000) == 100_000
            got = b""
            while len(got) < 100_000:
                got += pair.server.recv(100_000)
            assert got == content
            pair.server.sendall(b"thanks")
            assert pair.client.recv(100) == b"thanks"


def test_a_sender_that_never_waits(mesh: Engine, pair: Accelerated) -> None:
    """EAGAIN, then writable when the reader has read: nothing is stuck or lost."""
    content = random.Random(3).randbytes(8 * MIB)
    pair.client.setblocking(False)
    pair.server.setblocking(False)
    got, at, refused = bytearray(), 0, 0
    watch = select.epoll()
    watch.register(pair.client, select.EPOLLOUT)
    watch.register(pair.server, select.EPOLLIN)
    while len(got) < len(content):
        ready = dict(watch.poll(10))
        assert ready, "neither writable nor readable"
        if pair.client.fileno() in ready:
            try:
                while at < len(content):
                    at += pair.client.send(content[at : at + 30_000])
                watch.modify(pair.client, 0)
            except BlockingIOError:
                refused += 1
        else:  # full: only now, so that it is filled again and again
            got += pair.server.recv(50_000)
    watch.close()
    assert refused
    assert got == content


def test_each_arrival_wakes_an_edge(mesh: Engine, pair: Accelerated) -> None:
    """EPOLLET tells of each message, read or not, and of the end."""
    watch = select.epoll()
    watch.register(pair.server, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
    watch.poll(0)
    for _ in range(100):
        pair.client.sendall(b"x")
        assert watch.poll(10) == [(pair.server.fileno(), select.EPOLLIN)]
        assert watch.poll(0) == []
    assert pair.server.recv(1000) == b"x" * 100
    pair.client.close()
    assert watch.poll(10)[0][1] & select.EPOLLRDHUP
    watch.close()


def test_a_sleeper_is_woken(mesh: Engine, pair: Accelerated) -> None:
    """Thousands of turns with a blocked reader at each end: no wake-up is lost."""

    def echo() -> None:
        while word := pair.server.recv(100):
            pair.server.sendall(word)

    echoer = threading.Thread(target=echo)
    echoer.start()
    for number in range(20_000):
        word = number.to_bytes(4, "big")
        pair.client.sendall(word)
        assert pair.client.recv(100) == word
    pair.client.shutdown(socket.SHUT_WR)
    echoer.join()


def test_a_look_takes_nothing(mesh: Engine, pair: Accelerated) -> None:
    pair.client.sendall(b"look")
    assert pair.server.recv(2, socket.MSG_PEEK) == b"lo"
    assert pair.server.recv(100, socket.MSG_PEEK) == b"look"
    pair.server.sendall(b"not read yet")
    assert pair.ends()[0].read_cost == 0
    assert pair.server.recv(100) == b"look"


def test_writers_of_one_socket_keep_their_messages_whole(
    mesh: Engine, pair: Accelerated
) -> None:
    def write(letter: bytes) -> None:
        for _ in range(200):
            pair.client.sendall(letter * 100)

    writers = [threading.Thread(target=write, args=(bytes([65 + n]),)) for n in range(4)]
    for writer in writers:
        writer.start()
    got = b""
    while len(got) < 4 * 200 * 100:
        got += pair.server.recv(MIB)
    for writer in writers:
        writer.join()
    for start in range(0, len(got), 100):
        assert len(set(got[start : start + 100])) == 1


class TestWhatIsNotAsWithTcp:
    """Known, of the kernel's making, and told in ARCHITECTURE.md."""

    def test_splice_finds_nothing(self, mesh: Engine, pair: Accelerated) -> None:
        pair.client.sendall(b"data")
        pair.server.setblocking(False)
        reader, writer = os.pipe()
        with pytest.raises(BlockingIOError):
            os.splice(pair.server.fileno(), writer, 100)
        os.close(reader)
        os.close(writer)
        assert pair.server.recv(100) == b"data"

    def test_urgent_data_comes_in_line(self, mesh: Engine, pair: Accelerated) -> None:
        pair.client.send(b"!", socket.MSG_OOB)
        assert pair.server.recv(100) == b"!"

    def test_waitall_does_not_wait_for_all(self, mesh: Engine, pair: Accelerated) -> None:
        pair.client.sendall(b"half")
        assert pair.server.recv(8, socket.MSG_WAITALL) == b"half"

    def test_what_lies_unread_at_a_close_is_no_reset(
        self, mesh: Engine, pair: Accelerated
    ) -> None:
        pair.client.sendall(b"never read")
        pair.server.close()
        assert pair.client.recv(100) == b""

    def test_a_signal_ends_a_read_that_sleeps(self, mesh: Engine, pair: Accelerated) -> None:
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        try:
            with sleeping_reader(pair.server) as reader:
                signal.pthread_kill(reader.ident or 0, signal.SIGALRM)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert isinstance(reader.error, BlockingIOError)

    def test_a_reset_is_not_told_to_a_read_that_sleeps(
        self, mesh: Engine, pair: Accelerated
    ) -> None:
        with sleeping_reader(pair.server) as reader:
            pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            pair.client.close()
        assert isinstance(reader.error, BlockingIOError)
        with pytest.raises(ConnectionResetError):
            pair.server.recv(100)

    def test_room_to_send_ends_a_read_that_sleeps(
        self, mesh: Engine, pair: Accelerated
    ) -> None:
        pair.server.setblocking(False)
        left = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                left += pair.server.send(b"x" * 100_000)
        with sleeping_reader(pair.server) as reader:
            while left:
                left -= len(pair.client.recv(MIB))
        assert isinstance(reader.error, BlockingIOError)


class Reader(threading.Thread):
    """One blocking recv(); error: how it failed."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self.end = end
        self.error: OSError | None = None

    def run(self) -> None:
        self.end.setblocking(True)
        try:
            self.end.recv(100)
        except OSError as error:
            self.error = error

    def sleeps(self) -> bool:
        """Whether it is in recvfrom(2)."""
        number = {"x86_64": "45", "aarch64": "207"}[platform.machine()]
        return (
            Path(f"/proc/self/task/{self.native_id}/syscall").read_text().split()[0] == number
        )


@contextlib.contextmanager
def sleeping_reader(end: socket.socket) -> Iterator[Reader]:
    """A reader that is asleep when the block begins and done when it ends."""
    reader = Reader(end)
    reader.start()
    eventually(reader.sleeps)
    yield reader
    reader.join(10)
    assert not reader.is_alive()
