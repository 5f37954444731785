from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import pytest

from ztunnel_compat.runtime.errors import ConfigError, ListenError
from ztunnel_compat.runtime.process import BAD_SETTINGS, FAILED, serve


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def read(environment: Mapping[str, str]) -> str:
    if "NAME" not in environment:
        raise ConfigError("NAME is not set")
    return environment["NAME"]


async def run(name: str) -> None:
    if name == "taken":
        raise ListenError("port 1 is taken")


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({"NAME": "fine"}, 0, ""),
        ({"NAME": "taken"}, FAILED, "error\ttest\tcan't serve: port 1 is taken\n"),
        ({}, BAD_SETTINGS, "error\ttest\tbad settings: NAME is not set\n"),
    ],
)
def test_exit_status_and_the_reason(
    environment: dict[str, str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve("test", environment, read, run) == status
    assert capsys.readouterr().err.endswith(said)
