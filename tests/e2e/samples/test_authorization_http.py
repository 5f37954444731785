from __future__ import annotations

from tests.support.mesh import MeshHandle, eventually

SAMPLE = "authorization-http"


def status(mesh: MeshHandle, pod: str, url: str, *options: str) -> str:
    """The status that a pod gets, or curl's word for why there is none."""
    done = mesh.run(
        pod, "curl", "-sS", "-m", "10", "--path-as-is", "-o", "/dev/null",
        "-w", "%{http_code}", *options, url, namespace=SAMPLE, check=False,
    )  # fmt: skip
    return done.stdout if not done.returncode else f"curl {done.returncode}"


def test_requests(mesh: MeshHandle) -> None:
    assert status(mesh, "client", "http://echo/") == "200"
    assert status(mesh, "client", "http://echo/admin/users") == "403"
    assert status(mesh, "client", "http://echo/x/../admin/users") == "403"
    assert status(mesh, "client", "http://echo/%61dmin/users") == "403"
    assert status(mesh, "admin", "http://echo/admin/users") == "200"
    assert status(mesh, "admin", "http://echo/", "-X", "DELETE") == "403"
    policy = "rbac_access_denied_matched_policy[ns[authorization-http]-policy[admins-only]"
    eventually(
        lambda: policy in mesh.tandem("logs", "-n", SAMPLE, "waypoint"), "the waypoint's log"
    )


def test_nobody_passes_the_waypoint_by(mesh: MeshHandle) -> None:
    address = mesh.pod("echo", SAMPLE)["ips"][0]
    for pod in ("client", "admin", "outsider"):
        assert status(mesh, pod, f"http://{address}:8080/") == "curl 7", pod
    assert status(mesh, "outsider", "http://echo/") == "curl 7"


def test_what_is_in_force(mesh: MeshHandle) -> None:
    rows = {row["name"]: row for row in mesh.rows("policies")}
    assert rows["reading"]["state"] == "enforced"
    assert rows["no-curl"]["state"] == "dry run"
    assert rows["admins-only"]["workloads"] == "Service authorization-http/echo"
