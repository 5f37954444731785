"""Work inside other network namespaces."""

from __future__ import annotations

import os
import socket

import pytest

from bpf.errors import NetnsError
from bpf.netns import in_netns, netns_cookie
from tests.support.netns import netns


def here() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116


def test_the_thread_is_back_home_afterwards() -> None:
    home = here()
    with netns() as other:
        with in_netns(other.fd):
            assert here() == os.fstat(other.fd).st_ino != home
        assert here() == home
        with pytest.raises(KeyError), in_netns(other.fd):
            raise KeyError
        assert here() == home


def test_sockets_stay_where_they_were_made() -> None:
    with netns() as other:
        with in_netns(other.fd):
            listener = socket.create_server(("127.0.0.1", 0))
        with listener, socket.socket() as outside:
            assert outside.connect_ex(listener.getsockname()) != 0


def test_a_cookie_is_its_namespaces_own() -> None:
    with netns() as first, netns() as second:
        assert netns_cookie(first.fd) == netns_cookie(first.fd) != netns_cookie(second.fd)


def test_what_is_no_namespace_is_refused() -> None:
    with open(os.devnull) as other, pytest.raises(NetnsError, match="can't be entered"):  # noqa: PTH123
        netns_cookie(other.fileno())
