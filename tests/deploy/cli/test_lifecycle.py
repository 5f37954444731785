"""`tandem up`, `down` and `clean` as far as they need no mesh."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Network, IPv6Network, ip_network

import pytest

from deploy.cli.__main__ import main
from deploy.cli.errors import CommandError
from deploy.cli.lifecycle import mesh_config
from deploy.standalone.config import MeshConfig
from tests.support.nobody import AS_NOBODY

# Holds a mesh's lock until SIGTERM, as its runner does.
RUNNER = """
import signal, sys
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.lock import MeshLock
lock = MeshLock.take(MeshConfig(name=sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(lock.release()))
print("locked", flush=True)
signal.pause()
"""


def test_ranges_go_by_kind_and_family() -> None:
    config = mesh_config(
        "x",
        [ip_network("fd00:9::/48"), ip_network("10.9.0.0/16")],
        [ip_network("10.8.0.0/16")],
    )
    assert config.pod_cidr4 == IPv4Network("10.9.0.0/16")
    assert config.pod_cidr6 == IPv6Network("fd00:9::/48")
    assert config.service_cidr4 == IPv4Network("10.8.0.0/16")
    assert config.service_cidr6 == MeshConfig().service_cidr6
    assert config.nodes == ("node1",)
    assert mesh_config("x", [], [], nodes=2).nodes == ("node1", "node2")
    assert mesh_config("x", [], [], same_node_mtls=True).same_node_mtls
    assert config.access_log == "stdout"
    assert mesh_config("x", [], [], access_log="off").access_log == "off"


def test_ranges_that_do_not_fit_are_errors() -> None:
    net = ip_network("10.9.0.0/16")
    with pytest.raises(CommandError, match=r"there is 10\.9\.0\.0/16 already"):
        mesh_config("x", [net, net], [])
    with pytest.raises(CommandError, match="overlap"):
        mesh_config("x", [net], [net])
    with pytest.raises(CommandError, match="a /16 is needed"):
        mesh_config("x", [ip_network("10.9.0.0/24")], [])


def test_missing_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--name", "nosuchmesh", "-f", "/nowhere"]) == 1
    assert "/nowhere: no such file or directory" in capsys.readouterr().err
    assert not MeshConfig(name="nosuchmesh").state_dir.exists()


def test_down_ends_the_runner() -> None:
    argv = [sys.executable, "-c", RUNNER, "nosuchmesh"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        assert main(["down", "--name", "nosuchmesh"]) == 0
        assert runner.wait(10) == 0


def test_clean_leaves_a_running_mesh_alone(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [sys.executable, "-c", RUNNER, "nosuchmesh"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        assert main(["clean", "--name", "nosuchmesh"]) == 1
        assert "mesh nosuchmesh is already running" in capsys.readouterr().err
        runner.terminate()


def test_clean_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", "--name", "nosuchmesh"]) == 0
    assert capsys.readouterr().out == "nothing is left of mesh nosuchmesh\n"


@pytest.mark.parametrize("words", [["up", "-f", "/"], ["down"], ["clean"]])
def test_other_users_are_told_to_be_root(words: list[str]) -> None:
    argv = [*AS_NOBODY, sys.executable, "-m", "deploy.cli", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"tandem {words[0]} must run as root" in done.stderr
