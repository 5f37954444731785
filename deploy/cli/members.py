"""`tandem enroll` and `tandem unenroll`: processes without a pod."""

from __future__ import annotations

import sys
from argparse import Namespace

from deploy.cli.errors import CommandError
from deploy.cli.output import render_table
from deploy.cli.place import MeshPlace
from deploy.standalone.client import ControlUnreachableError, NodeClient, Table


def do_enroll(args: Namespace) -> int:
    """Take a cgroup into the mesh, or list those that are in it."""
    if (args.cgroup is None) != (args.workload is None):
        raise CommandError("--cgroup and --workload go together: which is to be which?")
    client = node_client(args)
    try:
        if args.cgroup is not None:
            made = client.enroll(args.cgroup.absolute(), args.workload)
            print(f"{made['cgroup']} is {made['workload']}")
            return 0
        members = client.members()
    except ControlUnreachableError as error:
        raise unreachable(error) from error
    if not members:
        print("no cgroup is enrolled", file=sys.stderr)
        return 0
    rows = tuple((each["cgroup"], each["workload"], each["uid"]) for each in members)
    print(render_table(Table(("CGROUP", "WORKLOAD", "UID"), rows)))
    return 0


def do_unenroll(args: Namespace) -> int:
    """Take a cgroup out of the mesh."""
    try:
        node_client(args).unenroll(args.cgroup.absolute())
    except ControlUnreachableError as error:
        raise unreachable(error) from error
    return 0


def node_client(args: Namespace) -> NodeClient:
    """The agent of the node that is meant."""
    place = MeshPlace(args.name)
    return NodeClient(place.config.members_socket(place.node(args.node)))


def unreachable(error: ControlUnreachableError) -> CommandError:
    """The error for an agent that gives no answer."""
    return CommandError(f"the node's agent does not answer; it may be starting: {error}")
