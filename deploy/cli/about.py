"""`tandem version`."""

from __future__ import annotations

import platform
import tomllib
from argparse import Namespace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

import deploy

DISTRIBUTION = "tandem-mesh"


def do_version(_: Namespace) -> int:
    """Print the version of Tandem, and of what it runs on."""
    print(f"tandem {version()} (Python {platform.python_version()}, {platform.release()})")
    return 0


def version() -> str:
    """The version that is installed, or that of the source tree we run from."""
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        project = Path(deploy.__file__).parents[1] / "pyproject.toml"
        return str(tomllib.loads(project.read_text())["project"]["version"])
