"""The grammar of the command line, and the text of its help."""

from __future__ import annotations

from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from deploy.standalone.config import (
    ACCESS_LOGS,
    MAX_NODES,
    TRUST_DOMAIN,
    ConfigError,
    MeshConfig,
)

ABOUT = """\
Tandem, a sidecarless service mesh, on one machine.

`tandem up` reads Kubernetes, Gateway API and Istio YAML, runs the pods in it as
processes in network namespaces, and meshes them: an eBPF engine for the node,
a waypoint where a Gateway asks for one. Edit a file and the mesh follows.
"""

#: What `tandem get` lists.
KINDS = (
    "pods", "services", "routes", "waypoints", "workloads", "policies", "plugins", "problems",
)  # fmt: skip

EXAMPLES = """\
examples:
  tandem up -f deploy/samples/bookinfo            run the mesh until Ctrl-C
  tandem up --nodes 2 -f deploy/samples/bookinfo  the same on two nodes
  tandem get pods -n bookinfo                     what runs, and is it ready?
  tandem get policies                             who may connect, and for whom it holds
  tandem exec -n bookinfo deploy/productpage-v1 -- curl -s http://reviews:9080/reviews/0
  tandem logs -f productpage                      a pod, by any unique prefix
  tandem apply -f route.yaml                      add to what the files say
  tandem dump waypoint | less                     what the waypoint knows, as JSON
  tandem enroll --cgroup /sys/fs/cgroup/system.slice/db.service --workload shop/db
                                                  a process without a pod joins
  tandem up --name other -f DIR --pod-cidr 10.9.0.0/16 --service-cidr 10.8.0.0/16 \\
      --pod-cidr fd00:9::/48 --service-cidr fd00:8::/112
                                                  a second mesh beside the first

exit status:
  0    done
  1    it could not be done; one line on standard error says why and what to do
  2    the command line is wrong
  exec gives the status of the command that it ran
"""


ENROLL = """

For processes that have no network namespace of their own: a systemd unit, say. The
WorkloadEntry says who they are. From now on their connections are the mesh's, and
what listens is guarded by the workload's policies, by its port. It lasts until it is
taken back or the cgroup is removed. Without --cgroup: lists what is enrolled.
"""

ROTATE_ROOT = """

The old and the new root are both trusted until no certificate of the old one is left,
which takes as long as two certificates hold (48 hours at most); nothing is cut off.
"""


def parse(argv: Sequence[str]) -> Namespace:
    """Parse a command line; the command's name is in `command`.

    What follows `--` of `tandem exec` is in `argv`, untouched. Exits with status 2 and
    the usage when the command line is wrong.
    """
    words = list(argv)
    if words[:1] != ["exec"] or "--" not in words:
        return build().parse_args(words)
    index = words.index("--")
    args = build().parse_args(words[:index])
    args.argv = words[index + 1 :]
    return args


def build() -> ArgumentParser:
    """Return the parser of everything but what follows `--`."""
    parser = ArgumentParser(
        prog="tandem",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, about: str, more: str = "") -> ArgumentParser:
        added = subparsers.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.{more}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=name)
        if name != "version":
            added.add_argument(
                "--name",
                type=mesh_name,
                default="tandem",
                metavar="MESH",
                help="the mesh (default: tandem)",
            )
        return added

    _up(command("up", "run a mesh until Ctrl-C, then take it down"))
    _get(command("get", "list what there is, or what is wrong with it"))
    _exec(command("exec", "run a command in a pod"))
    _logs(command("logs", "print what a pod wrote"))
    _files(command("apply", "create or change objects beside the watched files"), "FILE")
    _files(command("delete", "delete objects that were applied"), "FILE")
    _dump(command("dump", "print what a part of the mesh knows, as JSON"))
    _enroll(command("enroll", "have the processes of a cgroup be in the mesh", ENROLL))
    _unenroll(command("unenroll", "take a cgroup out of the mesh"))
    command("rotate-root", "have the mesh's certificates signed by a new root", ROTATE_ROOT)
    command("down", "end a running mesh, as Ctrl-C does")
    command("clean", "remove what a killed run has left behind")
    command("version", "print the version")
    return parser


def mesh_name(text: str) -> str:
    """A mesh's name; the error says what one looks like."""
    try:
        return MeshConfig(name=text).name
    except ConfigError as error:
        raise ArgumentTypeError(str(error)) from None


def network(text: str) -> IPv4Network | IPv6Network:
    """An address range such as 10.244.0.0/16."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _up(parser: ArgumentParser) -> None:
    _files(parser, "DIR_OR_FILE")
    parser.add_argument(
        "--nodes",
        type=node_count,
        default=1,
        metavar="N",
        help="how many nodes, node1 to nodeN, pods are spread over (default: 1)",
    )
    parser.add_argument(
        "--same-node-mtls",
        action="store_true",
        help="mutual TLS between pods of one node too, where the kernel proves identity"
        " otherwise",
    )
    parser.add_argument(
        "--access-log",
        choices=ACCESS_LOGS,
        default=ACCESS_LOGS[0],
        help="where waypoints write a line for each request (default: %(default)s)",
    )
    for kind, sizes in (("pod", "a /16 and a /48"), ("service", "a /24 and a /112 or larger")):
        parser.add_argument(
            f"--{kind}-cidr",
            type=network,
            action="append",
            default=[],
            metavar="CIDR",
            help=f"where {kind} addresses come from: {sizes}; once per address family",
        )

    parser.add_argument(
        "--trust-domain",
        default=TRUST_DOMAIN,
        metavar="DOMAIN",
        help="of all identities in the mesh (default: %(default)s)",
    )


def _get(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS)
    _namespace(parser, "only this namespace")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")


def _exec(parser: ArgumentParser) -> None:
    parser.usage = "tandem exec [-h] [--name MESH] [-n NAMESPACE] POD -- CMD …"
    _namespace(parser, "the pod's namespace")
    _pod(parser)
    parser.set_defaults(argv=[])
    parser.epilog = "The command and its arguments follow --, and are passed on as they are."


def _logs(parser: ArgumentParser) -> None:
    _namespace(parser, "the pod's namespace")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it writes more")
    parser.add_argument("--tail", type=line_count, metavar="LINES", help="only the last LINES")
    _pod(parser)


def _dump(parser: ArgumentParser) -> None:
    parser.add_argument("part", choices=("node", "waypoint", "control"))
    parser.add_argument(
        "who", nargs="?", metavar="NAME", help="which, where there is more than one"
    )


def _enroll(parser: ArgumentParser) -> None:
    parser.add_argument("--cgroup", type=Path, metavar="DIR", help="a cgroup v2 directory")
    parser.add_argument(
        "--workload", type=workload_name, metavar="NS/NAME", help="the WorkloadEntry it is"
    )
    _on_node(parser)


def _unenroll(parser: ArgumentParser) -> None:
    parser.add_argument("--cgroup", type=Path, metavar="DIR", required=True)
    _on_node(parser)


def _on_node(parser: ArgumentParser) -> None:
    parser.add_argument("--node", help="whose agent does it, where there is more than one")


def workload_name(text: str) -> str:
    """A workload, as namespace/name."""
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise ArgumentTypeError(f"{text!r} is no NAMESPACE/NAME")
    return text


def node_count(text: str) -> int:
    """A number of nodes."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_NODES:
        raise ArgumentTypeError(f"{text!r} is not a number of nodes from 1 to {MAX_NODES}")
    return int(text)


def line_count(text: str) -> int:
    """A number of lines, 0 or more."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _files(parser: ArgumentParser, metavar: str) -> None:
    directories = metavar == "DIR_OR_FILE"
    parser.add_argument(
        "-f",
        "--file",
        action="append" if not directories else "extend",
        nargs=None if not directories else "+",
        required=True,
        metavar=metavar,
        help="what to read and watch" if directories else "YAML; - is standard input",
    )


def _namespace(parser: ArgumentParser, about: str) -> None:
    parser.add_argument("-n", "--namespace", help=f"{about} (default: all)")


def _pod(parser: ArgumentParser) -> None:
    parser.add_argument("pod", metavar="POD", help="a name, a unique prefix, or deploy/NAME")
