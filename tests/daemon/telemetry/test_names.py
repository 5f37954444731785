from __future__ import annotations

from daemon.telemetry.names import SLICE, Memory, Names
from tests.daemon.meshes import key_of, service, state_of, uid_of
from tests.daemon.telemetry.scene import CLIENT, WEB, names_of, scene
from ztunnel_compat.names import name_hash, target_hash
from ztunnel_compat.state import Changes


def changed(*keys: str) -> Changes:
    return Changes(frozenset(), frozenset(keys))


def test_a_target_is_a_port_of_a_service() -> None:
    names = names_of(scene())
    found = names.service(WEB)
    assert found is not None
    assert found.key == key_of("web")
    assert names.service(target_hash(name_hash(key_of("web")), 81)) is None


def test_nobody_has_hash_0() -> None:
    assert names_of(scene()).workload(0) is None


def test_a_service_that_is_gone_keeps_its_name() -> None:
    state = scene()
    names = names_of(state)
    state.apply((), [key_of("web")])
    names.on_change(changed(key_of("web")))
    names.refresh()
    assert names.targets == {}
    found = names.service(WEB)
    assert found is not None
    assert found.name == "web"


def test_a_port_that_moved_is_the_new_ones() -> None:
    state = scene()
    names = names_of(state)
    state.apply([service("web", "10.96.0.1", ports={81: 8080})], ())
    names.on_change(changed(key_of("web")))
    names.refresh()
    assert set(names.targets) == {target_hash(name_hash(key_of("web")), 81)}


def test_a_workload_that_was_seen_is_remembered() -> None:
    state = scene()
    names = names_of(state)
    assert names.workload(CLIENT) is not None
    state.apply((), [uid_of("client"), uid_of("web-1")])
    gone = names.workload(CLIENT)
    assert gone is not None
    assert gone.name == "client"
    assert names.workload(name_hash(uid_of("web-1"))) is None


def test_services_are_taken_in_by_slices() -> None:
    keys = [f"s{number}" for number in range(SLICE + 1)]
    state = state_of(*(service(key) for key in keys))
    names = Names(state)
    names.on_change(changed(*(key_of(key) for key in keys)))
    assert names.refresh()
    assert len(names.targets) == SLICE
    assert not names.refresh()
    assert len(names.targets) == SLICE + 1


def test_memory_forgets_the_oldest() -> None:
    memory: Memory[str] = Memory(2)
    memory.put(1, "a")
    memory.put(2, "b")
    memory.put(1, "a again")
    memory.put(3, "c")
    assert (memory.get(1), memory.get(2), memory.get(3)) == ("a again", None, "c")


def test_known_are_workloads_and_nobody() -> None:
    names = names_of(scene())
    assert names.known(CLIENT, 0)
    assert not names.known(CLIENT, 99)
