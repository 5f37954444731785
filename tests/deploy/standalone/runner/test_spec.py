"""What the control API says, read."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.standalone.runner.spec import Readiness, Variable, parse_snapshot

BODY: dict[str, Any] = {
    "version": "7",
    "epoch": "e",
    "pods": [
        {
            "namespace": "default",
            "name": "web",
            "node": "node1",
            "uid": "u",
            "service_account": "sa",
            "labels": {"app": "web"},
            "enrolled": True,
            "hash": "h",
            "containers": [
                {
                    "name": "main",
                    "command": ["server"],
                    "args": ["--port", "80"],
                    "env": [
                        {"name": "A", "value": "1"},
                        {"name": "IP", "field": "status.podIP"},
                    ],
                    "working_dir": None,
                    "readiness": {
                        "kind": "http",
                        "path": "/ok",
                        "port": 80,
                        "scheme": "HTTPS",
                        "period": 3,
                        "timeout": None,
                    },
                }
            ],
            "restart_policy": "Never",
            "grace_period": 5,
        }
    ],
    "services": [
        {
            "namespace": "default",
            "name": "web",
            "hostname": "web.default.svc.cluster.local",
            "vips": ["10.96.1.2"],
            "headless": False,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "endpoints": [
                {"pod": "web", "ips": ["10.244.1.2"], "ready": True, "ports": {"80": 8080}}
            ],
        }
    ],
}


def test_a_snapshot() -> None:
    snapshot = parse_snapshot(BODY)
    [pod] = snapshot.pods
    assert pod.key == ("default", "web")
    assert snapshot.epoch == "e"
    assert pod.enrolled
    [container] = pod.containers
    assert container.command == ("server", "--port", "80")
    assert container.environment == (Variable("A", "1"), Variable("IP", "", "status.podIP"))
    assert container.readiness == Readiness("http", 80, "/ok", "https", period=3)
    [service] = snapshot.services
    assert service.endpoints[0].ports == {80: 8080}


def test_what_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="uid"):
        parse_snapshot({**BODY, "pods": [{"namespace": "a", "name": "b", "node": "c"}]})
