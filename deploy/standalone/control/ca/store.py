"""Where the authority's keys are: files that only their owner reads.

    ca/state.json            the rotation
    ca/token.key             signs tokens
    ca/<number>/             an issuer: root.pem, root.key, intermediate.pem (and its key)

Made as a whole at the first start. What is there is used or refused, never
replaced: a key that is lost takes the trust in everything it signed with it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.standalone.control.ca.certificates import (
    Issuer,
    Key,
    make_key,
    moment,
    pem,
    pem_of_key,
)
from deploy.standalone.control.ca.rotation import Rotation
from deploy.standalone.control.errors import CaError, RotationError, StateError

logger = logging.getLogger(__name__)

STATE = "state.json"
TOKEN_KEY = "token.key"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that the files say."""

    rotation: Rotation
    issuers: dict[int, Issuer]
    token_key: Key


class CaStore:
    """The authority's folder. Every method does file I/O: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, make: Callable[[], Issuer], now: float) -> Held:
        """What is there; made at the first start. Raises CaError naming a bad file."""
        if not self.folder.exists():
            self.create(make())
        check_folder(self.folder)
        rotation = self.load_rotation()
        self.sweep(rotation)
        issuers = {
            number: load_issuer(self.folder / str(number), now) for number in rotation.trusted
        }
        return Held(rotation, issuers, load_key(self.folder / TOKEN_KEY))

    def create(self, issuer: Issuer) -> None:
        """Make the folder, complete from the moment it has its name."""
        scratch = self.folder.with_name(f"{self.folder.name}.new")
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True, mode=0o700)
            write(scratch / TOKEN_KEY, pem_of_key(make_key()))
            save_issuer(scratch / "1", issuer)
            write(scratch / STATE, state_text(Rotation()))
            scratch.rename(self.folder)
        except OSError as error:
            raise CaError(f"{self.folder}: can't be made: {error}") from error
        logger.info("made a root for this mesh in %s", self.folder)

    def load_rotation(self) -> Rotation:
        """The state file; raises CaError."""
        path = self.folder / STATE
        try:
            content: Any = json.loads(read(path))
            return Rotation(
                trusted=tuple(int(number) for number in content["trusted"]),
                signing=int(content["signing"]),
                latest=int(content["latest"]),
                due=int(content["due"]),
            )
        except (ValueError, TypeError, KeyError, RotationError) as error:
            raise CaError(
                f"{path}: not what was written there ({error!r}): put the file back, or move "
                f"{self.folder} away to have a new root made"
            ) from error

    def save_rotation(self, rotation: Rotation) -> None:
        """Replace the state file; raises StateError."""
        path = self.folder / STATE
        scratch = path.with_suffix(".new")
        try:
            scratch.unlink(missing_ok=True)
            write(scratch, state_text(rotation))
            scratch.replace(path)
        except OSError as error:
            raise StateError(f"{path} can't be written: {error}") from error

    def add_issuer(self, number: int, issuer: Issuer) -> None:
        """Keep a new issuer, which counts once the rotation names it; raises StateError."""
        path = self.folder / str(number)
        try:
            # What a crash left before the rotation named it signed nothing.
            shutil.rmtree(path, ignore_errors=True)
            save_issuer(path, issuer)
        except OSError as error:
            raise StateError(f"{path} can't be written: {error}") from error

    def replace_intermediate(self, number: int, issuer: Issuer) -> None:
        """Keep an issuer's new intermediate; raises StateError.

        One file for both, so that no crash leaves one without the other.
        """
        path = self.folder / str(number) / "intermediate.pem"
        scratch = path.with_suffix(".new")
        try:
            scratch.unlink(missing_ok=True)
            write(scratch, intermediate_text(issuer))
            scratch.replace(path)
        except OSError as error:
            raise StateError(f"{path} can't be written: {error}") from error

    def sweep(self, rotation: Rotation) -> None:
        """Remove issuers that the rotation doesn't name: retired, or never in use."""
        for path in self.folder.iterdir():
            if path.name.isdecimal() and int(path.name) not in rotation.trusted:
                logger.info("removing %s: no certificate of that root is left", path)
                shutil.rmtree(path, ignore_errors=True)

    def publish(self, path: Path, roots: bytes) -> None:
        """Replace the file of roots that everybody may read; raises StateError."""
        scratch = path.with_suffix(".new")
        try:
            scratch.unlink(missing_ok=True)
            write(scratch, roots, 0o644)
            scratch.replace(path)
        except OSError as error:
            raise StateError(f"{path} can't be written: {error}") from error


def state_text(rotation: Rotation) -> bytes:
    """The state file's content."""
    return json.dumps(asdict(rotation)).encode()


def intermediate_text(issuer: Issuer) -> bytes:
    """An intermediate and its key."""
    return pem(issuer.intermediate) + pem_of_key(issuer.intermediate_key)


def save_issuer(folder: Path, issuer: Issuer) -> None:
    """Write an issuer's files; raises OSError."""
    folder.mkdir(mode=0o700)
    write(folder / "root.pem", pem(issuer.root))
    write(folder / "root.key", pem_of_key(issuer.root_key))
    write(folder / "intermediate.pem", intermediate_text(issuer))


def load_issuer(folder: Path, now: float) -> Issuer:
    """Read an issuer's files; raises CaError."""
    check_folder(folder)
    root_path, middle_path = folder / "root.pem", folder / "intermediate.pem"
    issuer = Issuer(
        root=load_certificate(root_path),
        root_key=load_key(folder / "root.key"),
        intermediate=load_certificate(middle_path),
        intermediate_key=load_key(middle_path),
    )
    for path, certificate, key, signer in (
        (root_path, issuer.root, issuer.root_key, issuer.root),
        (middle_path, issuer.intermediate, issuer.intermediate_key, issuer.root),
    ):
        if certificate.public_key() != key.public_key():
            raise CaError(f"{path}: its key is not the one beside it: put the right one back")
        try:
            certificate.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CaError(f"{path}: not signed by {root_path}: {error!r}") from error
        if certificate.not_valid_after_utc <= moment(now):
            raise CaError(
                f"{path}: ended {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC: move "
                f"{folder.parent} away to have a new root made"
            )
    return issuer


def load_certificate(path: Path) -> x509.Certificate:
    """Read an authority's certificate; raises CaError."""
    try:
        certificate = x509.load_pem_x509_certificate(read(path))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CaError(f"{path}: no certificate of an authority: {error}") from error
    if not constraints.value.ca:
        raise CaError(f"{path}: no certificate of an authority: it may not sign others")
    return certificate


def load_key(path: Path) -> Key:
    """Read a key; raises CaError."""
    try:
        key = load_pem_private_key(read(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CaError(f"{path}: no private key in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise CaError(f"{path}: no ECDSA key on P-256")
    return key


def read(path: Path) -> bytes:
    """A file's content; raises CaError when it isn't there, or others may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            check_private(path, os.fstat(descriptor))
            return file.read()
    except OSError as error:
        raise CaError(f"{path}: can't be read: {error.strerror}") from error


def check_folder(path: Path) -> None:
    """Raise CaError for a folder that isn't ours alone."""
    try:
        found = path.lstat()
    except OSError as error:
        raise CaError(f"{path}: can't be read: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise CaError(f"{path}: is no directory")
    check_private(path, found)


def check_private(path: Path, found: os.stat_result) -> None:
    """Raise CaError for what another user owns or may read or write."""
    if found.st_uid != os.geteuid():
        raise CaError(
            f"{path}: belongs to user {found.st_uid}, not to {os.geteuid()}: chown it"
        )
    if found.st_mode & 0o077:
        raise CaError(
            f"{path}: others may use it (mode {stat.S_IMODE(found.st_mode):04o}): if its keys "
            "are still secret, chmod it to its owner alone"
        )


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Make a file that isn't there; raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
