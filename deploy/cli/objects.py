"""`tandem apply` and `tandem delete`: objects beside the watched files."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace
from deploy.standalone.client import Applied


def do_apply(args: Namespace) -> int:
    """Create or change what the files hold."""
    return _each(args.file, MeshPlace(args.name).control().apply)


def do_delete(args: Namespace) -> int:
    """Delete what the files hold."""
    return _each(args.file, MeshPlace(args.name).control().delete)


def _each(files: Sequence[str], send: Callable[[str, Path | None], list[Applied]]) -> int:
    for file, text in [(file, _read(file)) for file in files]:
        applied = send(text, None if file == "-" else Path(file))
        if not applied:
            print(f"{file}: no objects", file=sys.stderr)
        for each in applied:
            print(f"{each.object} {each.result}")
    return 0


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {file}: {error}") from error
