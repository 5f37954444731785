from __future__ import annotations

from itertools import product

import xxhash

from ztunnel_compat.names import name_hash, pod_uid, service_key, target_hash


def test_names_are_istiods():
    assert pod_uid("Kubernetes", "ns", "pod-1") == "Kubernetes//Pod/ns/pod-1"
    assert service_key("ns", "svc.ns.svc.cluster.local") == "ns/svc.ns.svc.cluster.local"


def test_hash_is_xxh64_and_never_none(monkeypatch):
    assert name_hash("ns/svc") == xxhash.xxh64_intdigest(b"ns/svc")
    monkeypatch.setattr(xxhash, "xxh64_intdigest", lambda _: 0)
    assert name_hash("ns/other") == 1


def test_targets_of_names_and_ports_differ():
    names = [name_hash(f"ns/service-{i}") for i in range(50)]
    targets = {target_hash(name, port) for name, port in product(names, range(1, 200))}
    assert len(targets) == 50 * 199
    assert all(0 <= target < 1 << 64 for target in targets)


def test_target_of_port_zero_is_the_name():
    assert target_hash(7, 0) == 7
