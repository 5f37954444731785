"""`tandem get` and `tandem logs`."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from typing import BinaryIO

from deploy.cli.errors import CommandError
from deploy.cli.output import only_namespace, render_table
from deploy.cli.place import MeshPlace
from deploy.cli.pods import resolve

FOLLOW_SECONDS = 0.2
CHUNK = 64 * 1024


def do_get(args: Namespace) -> int:
    """Print a table."""
    table = MeshPlace(args.name).control().table(args.kind)
    shown = only_namespace(table, args.namespace)
    if args.output == "json":
        print(json.dumps({"columns": shown.columns, "rows": shown.rows}, indent=2))
    elif shown.rows:
        print(render_table(shown))
    else:
        where = f" in namespace {args.namespace}" if args.namespace else ""
        print(f"no {args.kind}{where}", file=sys.stderr)
    return 0


def do_logs(args: Namespace) -> int:
    """Print what a pod's process wrote, and with -f what it goes on to write."""
    pod = resolve(MeshPlace(args.name).pods(), args.pod, args.namespace)
    path = pod.folder / "log"
    try:
        with path.open("rb") as file:
            file.seek(tail_offset(file, args.tail))
            _copy(file)
            while args.follow and path.exists():
                time.sleep(FOLLOW_SECONDS)
                if file.tell() > os.fstat(file.fileno()).st_size:
                    file.seek(0)  # begun anew
                _copy(file)
    except FileNotFoundError:
        raise CommandError(f"pod {pod} has written nothing yet") from None
    return 0


def tail_offset(file: BinaryIO, lines: int | None) -> int:
    """Where the last `lines` lines of a file begin; 0 for None: all of it."""
    if lines is None:
        return 0
    position = file.seek(0, os.SEEK_END)
    # The newline that ends the last line begins no further one.
    wanted = lines + 1 if lines and _ends_with_newline(file, position) else lines
    if not lines:
        return position
    while position > 0:
        start = max(0, position - CHUNK)
        file.seek(start)
        block = file.read(position - start)
        count = block.count(b"\n")
        if count >= wanted:
            index = len(block)
            for _ in range(wanted):
                index = block.rindex(b"\n", 0, index)
            return start + index + 1
        wanted -= count
        position = start
    return 0


def _ends_with_newline(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - 1))
    return file.read(1) == b"\n"


def _copy(file: BinaryIO) -> None:
    while block := file.read(CHUNK):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()
