"""`tandem rotate-root`: another root certificate for the mesh."""

from __future__ import annotations

from argparse import Namespace

from deploy.cli.output import render_table
from deploy.cli.place import MeshPlace
from deploy.standalone.client import ControlClient, Table


def do_rotate_root(args: Namespace) -> int:
    """Begin to change the root, and say what is trusted now and when that changes."""
    place = MeshPlace(args.name)
    status = ControlClient(place.config.control_socket).rotate_root()
    rows = tuple(
        (root["fingerprint"], "yes" if root["signing"] else "next", root["ends"])
        for root in status["roots"]
    )
    print(render_table(Table(("ROOT", "SIGNS", "ENDS"), rows)))
    print(f"the new root signs after {status['next_step_after']}, and the old one is forgotten")
    print("when its last certificate has ended; `tandem dump control` shows how far that is")
    return 0
