"""Readiness probes, made from the pod's node as a kubelet makes them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable

from deploy.standalone.runner.spec import Readiness

#: Until a probe succeeded for the first time it is repeated so often, whatever
#: its period: the end of start-up should be seen when it happens, and nothing
#: else tells it. Kubernetes' 10 s are meant for pods that already serve.
STARTUP_PERIOD = 0.1
MAX_LINE = 4096


class Verdict:
    """What a series of probe results amounts to."""

    def __init__(self, readiness: Readiness) -> None:
        self.readiness = readiness
        self.ready = False
        self.was_ready = False
        self.run = 0
        self.last: bool | None = None

    def observe(self, succeeded: bool) -> bool:
        """Take a result; whether the container is ready now."""
        self.run = self.run + 1 if succeeded == self.last else 1
        self.last = succeeded
        if succeeded and self.run >= self.readiness.success_threshold:
            self.ready = self.was_ready = True
        elif not succeeded and self.run >= self.readiness.failure_threshold:
            self.ready = False
        return self.ready

    @property
    def period(self) -> float:
        """Seconds until the next probe."""
        if self.was_ready:
            return self.readiness.period
        return min(STARTUP_PERIOD, self.readiness.period)


async def watch(
    readiness: Readiness,
    check: Callable[[], Awaitable[str]],
    tell: Callable[[bool, str], None],
) -> None:
    """Probe for ever; tell(ready, why not) after each result.

    check: one probe; empty when it succeeded, else what went wrong.
    """
    verdict = Verdict(readiness)
    await asyncio.sleep(readiness.initial_delay)
    while True:
        failure = await check()
        ready = verdict.observe(not failure)
        tell(ready, "" if ready else f"readiness probe: {failure or 'not yet often enough'}")
        await asyncio.sleep(verdict.period)


class Prober:
    """Makes probes. make_socket: makes a TCP socket that doesn't block, of a family."""

    def __init__(self, make_socket: Callable[[int], Awaitable[socket.socket]]) -> None:
        self.make_socket = make_socket

    async def check(self, readiness: Readiness, address: str) -> str:
        """One probe of a pod's address; empty when it succeeded, else what went wrong."""
        try:
            async with asyncio.timeout(readiness.timeout):
                if readiness.kind == "tcp":
                    return await self.connects(address, readiness.port)
                return await self.answers(readiness, address)
        except TimeoutError:
            return f"no answer within {readiness.timeout:g} s"
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
        except ValueError as error:  # a line without an end
            return str(error)

    async def connects(self, address: str, port: int) -> str:
        """Succeeds when a connection is accepted."""
        (await self.connect(address, port)).close()
        return ""

    async def answers(self, readiness: Readiness, address: str) -> str:
        """Succeeds when a GET is answered with a status of 200 to 399."""
        connection = await self.connect(address, readiness.port)
        # As the kubelet: a probe asks whether it answers, not who it is.
        context = None
        if readiness.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        try:
            reader, writer = await asyncio.open_connection(
                sock=connection,
                limit=MAX_LINE,
                ssl=context,
                server_hostname=address if context else None,
            )
        except BaseException:
            connection.close()
            raise
        try:
            writer.write(request(readiness, address))
            return judge(await reader.readline())
        finally:
            writer.transport.abort()  # the body doesn't matter

    async def connect(self, address: str, port: int) -> socket.socket:
        """A connected socket; raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = await self.make_socket(family)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
        except BaseException:
            connection.close()
            raise
        return connection


def request(readiness: Readiness, address: str) -> bytes:
    """The request of an HTTP probe."""
    host = f"[{address}]" if ":" in address else address
    return (
        f"GET {readiness.path} HTTP/1.1\r\nHost: {host}:{readiness.port}\r\n"
        "User-Agent: tandem-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()


def judge(line: bytes) -> str:
    """Empty for the status line of a success, else what is wrong with it."""
    words = line.split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return f"no HTTP answer: {line[:80]!r}"
    status = int(words[1])
    return "" if 200 <= status < 400 else f"status {status}"
