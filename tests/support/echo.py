"""Upstreams that answer with what they were asked, for tests of what is passed on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

Head = tuple[str, list[tuple[str, str]]]


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """A message's first line and its header fields, names in lower case; None: the end."""
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = block.decode("latin-1")[:-4].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, [(name.lower(), value.strip(" \t")) for name, _, value in pairs]


async def read_response(
    reader: asyncio.StreamReader, *, bodiless: bool = False
) -> tuple[int, list[tuple[str, str]], bytes]:
    """A response's status, header fields and body, whose length it tells; bodiless: to HEAD."""
    head = await read_head(reader)
    assert head is not None
    line, fields = head
    length = int(dict(fields).get("content-length", "0"))
    body = b"" if bodiless else await reader.readexactly(length)
    return int(line.split(" ")[1]), fields, body


def answer(cluster: str, head: Head) -> bytes:
    """A request as JSON; each x-answer field is a field of the response."""
    line, fields = head
    method, path, _ = line.split(" ")
    told = {"cluster": cluster, "method": method, "path": path, "fields": fields}
    body = json.dumps(told).encode()
    extra = "".join(f"{value}\r\n" for name, value in fields if name == "x-answer")
    start = f"HTTP/1.1 200 OK\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return start.encode("latin-1") + (b"" if method == "HEAD" else body)


@asynccontextmanager
async def echoes(names: Iterable[str]) -> AsyncIterator[dict[str, int]]:
    """One upstream per name, on loopback: name → port. Bodies of requests must be empty."""
    async with AsyncExitStack() as stack:
        ports = {}
        for name in names:
            ports[name] = await stack.enter_async_context(echo(name))
        yield ports


@asynccontextmanager
async def echo(name: str) -> AsyncIterator[int]:
    """One upstream; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await read_head(reader)) is not None:
                writer.write(answer(name, head))
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
