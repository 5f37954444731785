from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.waypoint.filters.jwt.served import KeyServer, key_server
from waypoint.filters.jwt.fetch import FetchError, get_outside, keys_uri

URI = "https://i.example/.well-known/openid-configuration"


def test_where_an_issuer_has_its_keys() -> None:
    said = b'{"issuer": "https://i.example/", "jwks_uri": "https://keys.example/k"}'
    assert keys_uri(said, URI) == "https://keys.example/k"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"[]", "invalid JSON"),
        (b"{}", "of issuer None, not 'https://i.example'"),
        (b'{"issuer": "https://other"}', "of issuer 'https://other'"),
        (b'{"issuer": "https://i.example"}', "jwks_uri None is no address"),
        (b'{"issuer": "https://i.example", "jwks_uri": "file:///k"}', "is no address"),
        # What was told over TLS doesn't lead to what isn't.
        (b'{"issuer": "https://i.example", "jwks_uri": "http://k/"}', "is no address"),
    ],
)
def test_what_an_issuer_may_not_say(said: bytes, reason: str) -> None:
    with pytest.raises(FetchError, match=reason):
        keys_uri(said, URI)


async def test_an_answer_of_another_length_is_bounded() -> None:
    async with key_server() as keys:
        keys.body = b"x" * (1 << 20)
        assert await get_outside(keys.uri) == keys.body
        keys.body += b"x"
        with pytest.raises(FetchError, match="more than 1048576 bytes"):
            await get_outside(keys.uri)


#: The roots are read when a process starts.
FETCH = """
import asyncio, sys
from waypoint.filters.jwt.fetch import get_outside
print(asyncio.run(get_outside(sys.argv[1])).decode())
"""


async def test_certificates_are_checked_by_the_system_s_roots(tmp_path: Path) -> None:
    Authority().write(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "localhost.pem", tmp_path / "localhost.key")
    keys = KeyServer()
    server = await asyncio.start_server(keys.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        uri = f"https://localhost:{server.sockets[0].getsockname()[1]}/keys"
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            await get_outside(uri)
        assert keys.heads == []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FETCH, uri),
            env=os.environ | {"SSL_CERT_FILE": str(tmp_path / "roots.pem")},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    assert output.strip() == keys.body
