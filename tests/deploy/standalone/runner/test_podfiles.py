"""A pod's own files and environment."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.podfiles import environment, hosts, resolv_conf, write_json
from deploy.standalone.runner.spec import ContainerSpec, PodSpec, Variable

IPS = ("10.244.1.2", "fd00:10:244:1::2")


def test_resolv_conf_is_as_kubernetes_writes_it() -> None:
    assert resolv_conf(MeshConfig(), "shop") == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\n"
        "nameserver fd00:10:96::a\n"
        "options ndots:5\n"
    )


def test_hosts_names_the_pod() -> None:
    lines = hosts("web", IPS).splitlines()
    assert "10.244.1.2\tweb" in lines
    assert "fd00:10:244:1::2\tweb" in lines
    assert lines[0] == "127.0.0.1\tlocalhost"


def test_environment_has_the_pods_fields() -> None:
    fields = {
        "NAME": "metadata.name",
        "NAMESPACE": "metadata.namespace",
        "IP": "status.podIP",
        "IPS": "status.podIPs",
        "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName",
        "TOKEN": "tandem.io/token-path",
    }
    container = ContainerSpec(
        "main",
        ("server",),
        (*(Variable(n, field=f) for n, f in fields.items()), Variable("HOME", "/srv")),
    )
    pod = PodSpec("shop", "web", "node1", "u", service_account="seller")
    found = environment(pod, container, IPS, Path("/pods/web/token"))
    assert {name: found[name] for name in fields} == {
        "NAME": "web",
        "NAMESPACE": "shop",
        "IP": IPS[0],
        "IPS": ",".join(IPS),
        "NODE": "node1",
        "ACCOUNT": "seller",
        "TOKEN": "/pods/web/token",
    }
    assert found["HOME"] == "/srv"
    assert found["HOSTNAME"] == "web"
    assert "/usr/bin" in found["PATH"]


def test_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "pod.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert list(tmp_path.iterdir()) == [path]
