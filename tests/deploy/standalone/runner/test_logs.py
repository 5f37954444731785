"""Logs stay small."""

from __future__ import annotations

from pathlib import Path

from deploy.standalone.runner.logs import rotate, rotate_all


def test_a_large_log_is_copied_and_emptied_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 101)
        assert rotate(log, 100)
        writer.write(b"after\n")
    assert log.read_bytes() == b"after\n"
    assert log.with_name("log.1").read_bytes() == b"x" * 101


def test_small_and_missing_logs_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not rotate(log, 100)
    log.write_bytes(b"x" * 100)
    assert not rotate(log, 100)
    assert log.read_bytes() == b"x" * 100


def test_pods_and_processes_are_rotated(tmp_path: Path) -> None:
    pod = tmp_path / "pods" / "default" / "web"
    pod.mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (pod / "log").write_bytes(b"xx")
    (tmp_path / "logs" / "control.log").write_bytes(b"xx")
    assert rotate_all(tmp_path, 1) == 2
    assert rotate_all(tmp_path, 1) == 0
