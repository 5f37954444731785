"""`tandem exec`: a command in a pod's place."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from deploy.cli.errors import CommandError
from deploy.cli.place import MeshPlace
from deploy.cli.pods import resolve
from deploy.standalone.runner.launch import exec_argv


def do_exec(args: Namespace) -> int:
    """Become the command; its exit status is ours. Returns only by raising."""
    if not args.argv:
        raise CommandError("no command: use tandem exec POD -- CMD …")
    pod = resolve(MeshPlace(args.name).pods(), args.pod, args.namespace)
    argv = exec_argv(pod.content, args.argv)
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted
