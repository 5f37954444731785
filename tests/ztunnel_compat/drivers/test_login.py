from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import Authority
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.errors import LoginError

#: As a file looks while somebody writes it.
HALF = Authority().roots.decode()[:200]


async def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    login = Login("127.0.0.1:1", tmp_path / "roots", tmp_path / "token", "c1")
    for token in ("one", "two"):
        login.token.write_text(f"{token}\n")
        assert await login.metadata() == (
            ("authorization", f"Bearer {token}"),
            ("clusterid", "c1"),
        )


@pytest.mark.parametrize("content", ["", "\n", "a b", "a\nb", "ä", "\x00"])
async def test_a_token_of_no_use(tmp_path: Path, content: str) -> None:
    login = Login("127.0.0.1:1", tmp_path / "roots", tmp_path / "token")
    login.token.write_text(content)
    with pytest.raises(LoginError, match="holds no token"):
        await login.metadata()


async def test_files_that_cannot_be_had(tmp_path: Path) -> None:
    login = Login("127.0.0.1:1", tmp_path / "roots", tmp_path / "token")
    with pytest.raises(LoginError, match=r"token: .*can't be read: No such file.*TOKEN_PATH"):
        await login.metadata()
    with pytest.raises(LoginError, match=r"roots: .*can't be read.*XDS_ROOT_CA or CA_ROOT_CA"):
        await login.channel(())
    for content in ("", "nonsense", HALF):
        login.roots.write_text(content)
        with pytest.raises(LoginError, match=r"roots: .* holds no certificates in PEM"):
            await login.channel(())
    login.roots.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(LoginError, match="is longer than"):
        await login.channel(())
