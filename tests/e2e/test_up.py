"""`tandem up` in bad conditions: what it says, and what it leaves."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.manifests import documents, idle, namespace, pod, route, service, split
from tests.support.mesh import ROOT, TANDEM, MeshHandle, eventually, leftovers
from tests.support.nobody import AS_NOBODY

GOOD = documents(
    namespace("apps", dataplane_mode="ambient"),
    pod("echo", "echo.py", "8080", namespace="apps", port=8080),
    service("web", 80, 8080, namespace="apps", selector="app: echo"),
    idle("client", "apps"),
)


def test_bad_files_are_named_and_everything_else_works(folder: Path) -> None:
    mesh = MeshHandle("e2e-badfiles", folder, 90)
    mesh.write("good.yaml", GOOD)
    mesh.write("broken.yaml", "apiVersion: v1\nkind: Service\nmetadata: [\n")
    mesh.write("unknown.yaml", "apiVersion: v1\nkind: Gadget\nmetadata:\n  name: x\n")
    mesh.write(
        "image.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: pulled\n  namespace: apps\n"
        "spec:\n  containers:\n  - name: main\n    image: nginx\n",
    )
    mesh.write("dangling.yaml", route("web", "nowhere", split(1, 1), "apps"))
    with mesh.up():
        answer = mesh.run("client", "curl", "-sSf", "http://web/", namespace="apps")
        assert '"echo"' in answer.stdout
        found = mesh.dump("control")["errors"]
        errors = {Path(e["file"]).name: e for e in found}
        assert set(errors) >= {"broken.yaml", "unknown.yaml", "image.yaml", "dangling.yaml"}
        assert "Gadget" in errors["unknown.yaml"]["message"]
        assert "command" in errors["image.yaml"]["field"] + errors["image.yaml"]["message"]
        assert any("nowhere" in e["message"] for e in found)
        assert "broken.yaml" in mesh.output.read_text()


def test_a_killed_run_is_said_and_cleaned(folder: Path) -> None:
    mesh = MeshHandle("e2e-stale", folder, 92)
    mesh.write("good.yaml", GOOD)
    mesh.start()
    mesh.wait_ready()
    mesh.kill()
    assert leftovers(mesh.name)
    mesh.output.write_text("")
    with mesh.up():
        assert "left" in mesh.output.read_text() or "stale" in mesh.output.read_text()
        mesh.run("client", "curl", "-sSf", "http://web/", namespace="apps")
        again = MeshHandle(mesh.name, folder, 92)
        again.output = folder.parent / "again.out"
        again.start()
        assert again.process is not None
        assert again.process.wait(30) != 0
        assert mesh.name in again.output.read_text()
        mesh.run("client", "curl", "-sSf", "http://web/", namespace="apps")


def test_clean_after_a_killed_run(folder: Path) -> None:
    mesh = MeshHandle("e2e-clean", folder, 94)
    mesh.write("good.yaml", GOOD)
    mesh.start()
    mesh.wait_ready()
    mesh.kill()
    mesh.tandem("clean")
    assert leftovers(mesh.name) == []


def test_commands_without_a_mesh_say_what_to_do() -> None:
    for command in (["get", "pods"], ["dump", "node"], ["logs", "x"]):
        done = subprocess.run(
            [*TANDEM, command[0], "--name", "e2e-none", *command[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "tandem up" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_unprivileged_user_is_told_so(folder: Path) -> None:
    done = subprocess.run(
        [*AS_NOBODY, *TANDEM, "up", "-f", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "must run as root" in done.stderr


def test_apply_and_delete(folder: Path) -> None:
    mesh = MeshHandle("e2e-apply", folder, 96)
    mesh.write("good.yaml", GOOD)
    with mesh.up():
        extra = folder.parent / "extra.yaml"
        extra.write_text(service("extra", 80, 8080, namespace="apps", selector="app: echo"))
        assert "created" in mesh.tandem("apply", "-f", str(extra))
        assert "unchanged" in mesh.tandem("apply", "-f", str(extra))
        eventually(
            lambda: (
                mesh.run(
                    "client", "curl", "-sSf", "http://extra/", namespace="apps", check=False
                ).returncode
                == 0
            ),
            "the applied service answers",
        )
        local = folder.parent / "local.yaml"
        local.write_text(
            idle("local", "apps").replace("    command:", "    workingDir: here\n    command:")
        )
        (folder.parent / "here").mkdir()
        assert "created" in mesh.tandem("apply", "-f", str(local))
        mesh.wait_ready()
        assert mesh.run("local", "pwd", namespace="apps").stdout.strip().endswith("/here")
        assert "deleted" in mesh.tandem("delete", "-f", str(extra))
        eventually(
            lambda: (
                mesh.run(
                    "client", "getent", "hosts", "extra", namespace="apps", check=False
                ).returncode
            ),
            "the deleted service's name is gone",
        )
        bad = folder.parent / "bad.yaml"
        bad.write_text(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: bad\nspec:\n  ports: 7\n"
        )
        said = mesh.tandem("apply", "-f", str(bad), check=False)
        assert "spec.ports" in said
        said = mesh.tandem("delete", "-f", str(folder / "good.yaml"), check=False)
        assert "good.yaml" in said
