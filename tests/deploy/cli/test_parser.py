"""The grammar of the command line."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from deploy.cli.__main__ import COMMANDS, find
from deploy.cli.parser import parse


def test_up() -> None:
    args = parse(["up", "-f", "a", "b", "-f", "c"])
    assert (args.command, args.name, args.file) == ("up", "tandem", ["a", "b", "c"])
    assert (args.pod_cidr, args.service_cidr, args.nodes) == ([], [], 1)
    assert args.trust_domain == "cluster.local"
    assert parse(["up", "-f", "a", "--trust-domain", "td"]).trust_domain == "td"
    assert parse(["up", "-f", "a", "--nodes", "3"]).nodes == 3
    assert not args.same_node_mtls
    assert parse(["up", "-f", "a", "--same-node-mtls"]).same_node_mtls
    assert args.access_log == "stdout"
    assert parse(["up", "-f", "a", "--access-log", "off"]).access_log == "off"
    more = parse(["up", "-f", "a", "--pod-cidr", "10.9.0.0/16", "--pod-cidr", "fd00:9::/48"])
    assert more.pod_cidr == [ip_network("10.9.0.0/16"), ip_network("fd00:9::/48")]


def test_exec_passes_everything_after_the_dashes_on() -> None:
    args = parse(["exec", "pod", "-n", "ns", "--", "curl", "-n", "--", "--name"])
    assert (args.pod, args.namespace) == ("pod", "ns")
    assert args.argv == ["curl", "-n", "--", "--name"]
    assert parse(["exec", "pod"]).argv == []


def test_logs() -> None:
    args = parse(["logs", "-f", "--tail", "5", "pod"])
    assert (args.follow, args.tail, args.pod, args.namespace) == (True, 5, "pod", None)


def test_every_command_takes_the_name_of_a_mesh() -> None:
    for words in (
        ["get", "pods"],
        ["exec", "p", "--", "x"],
        ["logs", "p"],
        ["apply", "-f", "x"],
        ["delete", "-f", "x"],
        ["dump", "node"],
        ["rotate-root"],
        ["down"],
        ["clean"],
        ["up", "-f", "x"],
    ):
        assert parse([words[0], "--name", "other", *words[1:]]).name == "other"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "COMMAND"),
        (["get", "nodes"], "invalid choice: 'nodes'"),
        (["up"], "-f/--file"),
        (["up", "-f", "x", "--name", "Bad-Name"], "mesh name 'Bad-Name'"),
        (["up", "-f", "x", "--pod-cidr", "10.0.0.1/8"], "has host bits set"),
        (["up", "-f", "x", "--nodes", "0"], "'0' is not a number of nodes from 1 to 250"),
        (["up", "-f", "x", "--nodes", "two"], "'two' is not a number of nodes"),
        (["logs", "p", "--tail", "-1"], "--tail"),
        (["logs", "p", "--tail", "many"], "'many' is not a number of lines"),
    ],
)
def test_wrong_command_lines_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_help_is_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (*COMMANDS, "examples:", "exit status:"):
        assert word in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_its_function(name: str) -> None:
    assert find(name).__doc__
