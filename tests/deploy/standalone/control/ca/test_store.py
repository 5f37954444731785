from __future__ import annotations

import json
import shutil
import time
from functools import partial
from pathlib import Path

import pytest

from deploy.standalone.control.ca.certificates import (
    make_issuer,
    make_key,
    make_leaf,
    pem,
    pem_of_key,
)
from deploy.standalone.control.ca.rotation import Rotation
from deploy.standalone.control.ca.store import CaStore, Held
from deploy.standalone.control.errors import CaError, StateError
from ztunnel_compat.identity import Identity

NOW = time.time()


def opened(folder: Path, now: float = NOW) -> Held:
    return CaStore(folder).open(partial(make_issuer, "cluster.local", now), now)


def test_what_is_made_is_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "control" / "ca"
    first = opened(folder)
    second = opened(folder)
    assert second.rotation == first.rotation == Rotation()
    assert second.issuers[1].root == first.issuers[1].root
    assert second.issuers[1].intermediate == first.issuers[1].intermediate
    assert second.token_key.private_numbers() == first.token_key.private_numbers()
    modes = {path: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert len(modes) == 6


def test_a_first_start_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "ca.new").mkdir()
    (tmp_path / "ca.new" / "token.key").write_text("half")
    assert opened(tmp_path / "ca").rotation == Rotation()
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]


LEAF = make_leaf(
    make_issuer("cluster.local", NOW),
    Identity("cluster.local", "a", "b"),
    make_key().public_key(),
    NOW,
    60,
)
BAD = [
    ("token.key", b"nothing", "token.key: no private key in PEM"),
    ("token.key", None, "token.key: can't be read: No such file"),
    ("state.json", b"{", "state.json: not what was written there"),
    ("state.json", b"[]", "state.json: not what was written there"),
    ("state.json", None, "state.json: can't be read"),
    (
        "state.json",
        json.dumps({"trusted": [1], "signing": 2, "latest": 0, "due": 0}).encode(),
        "root 2 signs, and is not among",
    ),
    (
        "state.json",
        json.dumps({"trusted": [1, 2], "signing": 1, "latest": 0, "due": 0}).encode(),
        "ca/2: can't be read",
    ),
    ("1/root.pem", b"nothing", "root.pem: no certificate of an authority"),
    ("1/root.pem", pem(LEAF), "it may not sign others"),
    ("1/root.key", pem_of_key(make_key()), "root.pem: its key is not the one beside it"),
    ("1/intermediate.pem", b"", "intermediate.pem: no certificate"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD)
def test_a_bad_file_is_named_and_left(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    folder = tmp_path / "ca"
    opened(folder)
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(CaError, match=reason) as caught:
        opened(folder)
    assert str(folder) in str(caught.value)
    assert path.read_bytes() == content if content is not None else not path.exists()


def test_anothers_intermediate_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "a")
    opened(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "1" / "intermediate.pem", tmp_path / "a" / "1")
    with pytest.raises(CaError, match=r"intermediate.pem: not signed by .*root.pem"):
        opened(tmp_path / "a")


def test_what_has_ended_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "ca", NOW - 3651 * 86400)
    with pytest.raises(CaError, match=r"1/root.pem: ended .* have a new root made"):
        opened(tmp_path / "ca")


@pytest.mark.parametrize("name", ["", "token.key", "1", "1/root.key", "1/intermediate.pem"])
def test_what_others_may_read_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "ca"
    opened(folder)
    path = folder / name
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(CaError, match="others may use it") as caught:
        opened(folder)
    assert str(path) in str(caught.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    opened(tmp_path / "ca")
    key = tmp_path / "ca" / "token.key"
    key.rename(tmp_path / "elsewhere")
    key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaError, match=r"token\.key: can't be read"):
        opened(tmp_path / "ca")


def test_an_issuer_that_no_rotation_names_goes(tmp_path: Path) -> None:
    store = CaStore(tmp_path / "ca")
    opened(store.folder)
    store.add_issuer(2, make_issuer("cluster.local", NOW))
    # As a crash right after it would leave it; then it is made once more.
    store.add_issuer(2, make_issuer("cluster.local", NOW))
    assert list(opened(store.folder).issuers) == [1]
    assert not (store.folder / "2").exists()


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    store = CaStore(tmp_path / "gone")
    with pytest.raises(StateError, match=r"state\.json can't be written"):
        store.save_rotation(Rotation())
    (tmp_path / "file").write_text("")
    with pytest.raises(CaError, match="ca: can't be made"):
        opened(tmp_path / "file" / "ca")
