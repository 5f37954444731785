from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from tests.support.sink import Sink
from ztunnel_compat.runtime.descriptors import whole_lines, writer_to


def test_a_pipe_gets_whole_lines_as_long_as_it_takes_any() -> None:
    sink = Sink()
    lines = b"".join(b"%d %s\n" % (n, b"x" * 1000) for n in range(20))
    assert whole_lines(sink)(lines) == len(lines)
    assert b"".join(sink.writes) == lines
    assert all(len(w) <= select.PIPE_BUF and w.endswith(b"\n") for w in sink.writes)
    assert len(sink.writes) == 5
    full = Sink(5000)
    assert whole_lines(full)(lines) == 5000
    long = b"y" * (select.PIPE_BUF + 10) + b"\n"
    assert whole_lines(Sink())(long) == len(long)


@pytest.mark.parametrize("anew", [True, False])
def test_a_full_pipe_is_not_waited_for(anew: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, end = os.pipe()

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    if not anew:
        monkeypatch.setattr(os, "open", refused)
    try:
        write = writer_to(end)
        total = 0
        while True:
            size = write(b"x" * 65536)
            total += size
            if size < 65536:
                break
        assert write(b"x") == 0
        assert os.get_blocking(end)
        assert len(os.read(reader, total)) > 0
    finally:
        os.close(reader)
        os.close(end)


def test_files_and_sockets(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    assert writer_to(descriptor)(b"abc") == 3
    os.close(descriptor)
    assert path.read_bytes() == b"abc"
    here, there = socket.socketpair()
    with here, there:
        write = writer_to(here.fileno())
        assert write(b"abc") == 3
        assert there.recv(10) == b"abc"
        while write(b"x" * 65536):
            pass
        assert here.getblocking()
