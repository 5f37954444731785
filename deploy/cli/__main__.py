"""`tandem`, also as `python -m deploy.cli`."""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from deploy.cli import parser
from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace
from deploy.standalone.client import ControlRefusedError, ControlUnreachableError

Command = Callable[[Namespace], int]

# Where each command lives. Only the one that is run is imported: what `up` needs
# would make every other command wait.
COMMANDS = {
    "up": "lifecycle",
    "down": "lifecycle",
    "clean": "lifecycle",
    "version": "about",
    "get": "show",
    "logs": "show",
    "dump": "dumps",
    "exec": "enter",
    "apply": "objects",
    "delete": "objects",
    "enroll": "members",
    "unenroll": "members",
    "rotate-root": "roots",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = parser.parse(sys.argv[1:] if argv is None else argv)
    try:
        status = find(args.command)(args)
        sys.stdout.flush()
    except (CommandError, ControlRefusedError) as error:
        return _fail(str(error))
    except ControlUnreachableError as error:
        return _fail(str(MeshPlace(args.name).unreachable(error)))
    except PermissionError as error:
        return _fail(f"{error.strerror}: {error.filename}; tandem needs root: use sudo")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads us has enough, as `head` does. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def find(name: str) -> Command:
    """The function that does a command: do_NAME of its module."""
    module = importlib.import_module(f"deploy.cli.{COMMANDS[name]}")
    command: Command = getattr(module, f"do_{name.replace('-', '_')}")
    return command


def _fail(message: str) -> int:
    print(f"tandem: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
