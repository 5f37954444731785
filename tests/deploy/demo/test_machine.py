"""Whether this machine can run the demo."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from deploy.cli.lifecycle import mesh_config
from deploy.demo.errors import StoryError
from deploy.demo.machine import describe
from deploy.standalone.config import MeshConfig
from tests.support.bookinfo import SAMPLE
from tests.support.fake_mesh import fake_mesh


def test_this_machine_can() -> None:
    # Ranges of its own: a mesh that runs beside the test uses the default ones.
    config = mesh_config(
        "nosuchmesh",
        [ip_network("10.253.0.0/16"), ip_network("fd00:10:253::/48")],
        [ip_network("10.254.0.0/16"), ip_network("fd00:10:254::/112")],
    )
    assert describe(config, SAMPLE).startswith("Linux ")


def test_mesh_of_this_name_is_in_the_way() -> None:
    with (
        fake_mesh() as mesh,
        pytest.raises(StoryError, match=f"tandem down --name {mesh.name}"),
    ):
        describe(MeshConfig(name=mesh.name), SAMPLE)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(StoryError, match="/nowhere"):
        describe(MeshConfig(name="nosuchmesh"), Path("/nowhere"))
