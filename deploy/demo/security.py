"""The steps about who is calling: no mesh, L4, identity, STRICT, a policy."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from deploy.cli.pods import PodRecord
from deploy.demo import accesslog
from deploy.demo.errors import StoryError
from deploy.demo.namespace import with_labels
from deploy.demo.stage import POLICY_SECONDS, Stage
from deploy.demo.stream import Stream
from deploy.demo.wire import Tap, legible
from deploy.standalone.config import NETNS_DIR

HERE = Path(__file__).parent
AMBIENT = {"istio.io/dataplane-mode": "ambient"}
HBONE_PORT = 15008
#: How many answers must come after something was done to the mesh.
MORE = 100
LOG_SECONDS = 10.0
RATINGS = "http://ratings:9080/ratings/0"
SERVICES = {
    "ratings": RATINGS,
    "details": "http://details:9080/details/0",
}


class Security:
    """The steps; everybody: the requests that go on throughout."""

    def __init__(self, stage: Stage, everybody: Stream) -> None:
        self.stage = stage
        self.console = stage.console
        self.everybody = everybody
        self.mesh = stage.mesh
        self.client = stage.pod("traffic")
        self.service, self.server = self.on_another_node()

    def on_another_node(self) -> tuple[str, PodRecord]:
        """A service of one pod that isn't on the client's node."""
        for service in SERVICES:
            pod = self.stage.pod(f"{service}-v1")
            if pod.node != self.client.node:
                return service, pod
        raise StoryError(f"all of {', '.join(SERVICES)} are on {self.client.node} too")

    def plain(self) -> None:
        """Without a mesh, who is between the nodes reads along."""
        self.nobody_but_the_outside(enrolled=0)
        tap, token = self.observed()
        found = tap.holding(token)
        if not found:
            raise StoryError(
                f"{len(tap.packets)} packets were seen between {self.client.name} and "
                f"{self.server.name}, and none of them has the request in clear"
            )
        self.console.say(f"on the wire: {legible(found[0].payload, token)}")
        self.go_on()

    def enrol(self) -> None:
        """A label, and the namespace is in the mesh; nobody is started again."""
        before = self.processes()
        file = self.stage.folder / "bookinfo.yaml"
        self.stage.save(file.name, with_labels(file.read_text(), AMBIENT))
        self.console.say("the Namespace's label: istio.io/dataplane-mode: ambient")
        self.mesh.wait("enrolment", POLICY_SECONDS, self.not_enrolled)
        if self.processes() != before:
            raise StoryError("a pod's process is another than before")
        self.console.say(
            f"{len(before)} pods are in the mesh, each with the process that it had before"
        )
        self.go_on()

    def identity(self) -> None:
        """Between nodes: mutual TLS, and the caller's proven identity on the other side."""
        log = self.mesh.config.process_log(f"daemon-{self.server.node}")
        start = accesslog.size(log)
        tap, token = self.observed()
        if not tap.packets:
            raise StoryError("no packet was seen between the two pods")
        if readable := tap.holding(token):
            raise StoryError(f"on the wire: {legible(readable[0].payload, token)}")
        if others := tap.outside_of(HBONE_PORT):
            raise StoryError(f"a packet of ports {others[0].ports} was seen on the wire")
        self.console.say(
            f"on the wire: {len(tap.packets)} packets, all of port {HBONE_PORT}, and none "
            "has the request in clear"
        )
        wanted = seen_by(self.server, self.client)
        found: dict[str, str] | None = None

        def missing() -> str | None:
            nonlocal found
            found = accesslog.find(log, start, wanted)
            return None if found else f"the access log of {self.server.node} has no line of it"

        self.mesh.wait("the access log", LOG_SECONDS, missing)
        assert found is not None
        identity = found.get("src.identity", "")
        expected = f"/ns/{self.client.namespace}/sa/bookinfo-traffic"
        if not identity.startswith("spiffe://") or not identity.endswith(expected):
            raise StoryError(f"{self.server.node} saw the caller as {identity or 'nobody'}")
        self.console.say(f"{self.server.node} saw the caller as {identity}")
        self.go_on()

    def strict(self) -> None:
        """STRICT: who has no proven identity gets in nowhere but where it is said."""
        stranger = self.stage.pod("stranger")
        self.stage.answered(stranger, in_full(RATINGS))
        self.stage.add(HERE / "strict.yaml", "PeerAuthentication STRICT, but for the page")
        self.stage.refused(stranger, in_full(RATINGS))
        self.stage.answered(stranger, in_full("http://productpage:9080/productpage"))
        self.stage.answered(self.client, RATINGS)
        self.go_on()

    def policy(self) -> None:
        """An AuthorizationPolicy: not even everybody of the mesh."""
        ratings = self.stage.pod("ratings")
        log = self.mesh.config.process_log(f"daemon-{ratings.node}")
        start = accesslog.size(log)
        self.stage.add(HERE / "ratings.yaml", "AuthorizationPolicy, ratings are for reviews")
        self.stage.refused(self.client, RATINGS)
        found = None

        def missing() -> str | None:
            nonlocal found
            wanted = seen_by(ratings, self.client)
            entry = accesslog.find(log, start, wanted)
            found = entry["error"] if entry and "polic" in entry.get("error", "") else None
            return None if found else "the access log doesn't say why"

        self.mesh.wait("the access log", LOG_SECONDS, missing)
        self.console.say(f"the node's access log: {found}")
        self.go_on()

    # ---- what is seen

    def observed(self) -> tuple[Tap, bytes]:
        """A request to the other node, seen from between; what marks it."""
        fabric = NETNS_DIR / self.mesh.config.fabric_netns
        token = f"x-demo: {secrets.token_hex(4)}"
        with Tap(fabric, addresses(self.client), addresses(self.server)) as tap:
            self.console.say(
                f"{self.client.name} is on {self.client.node}, "
                f"{self.server.name} on {self.server.node}"
            )
            self.stage.answered(self.client, SERVICES[self.service], token.replace(": ", ":"))
        return tap, token.encode()

    def processes(self) -> dict[str, int | None]:
        """The process of each pod of bookinfo."""
        return {pod.name: pod.pid for pod in self.mesh.pods() if pod.namespace == "bookinfo"}

    def not_enrolled(self) -> str | None:
        """Which pod of bookinfo isn't in the mesh yet; None when all are."""
        for row in self.mesh.control.table("pods").records():
            if row["NAMESPACE"] == "bookinfo" and row["MESH"] != "ambient":
                return f"{row['NAME']} is not in the mesh"
        return None

    def nobody_but_the_outside(self, enrolled: int) -> None:
        """Check how many pods are in the mesh; raises StoryError."""
        rows = self.mesh.control.table("pods").records()
        found = [row["NAME"] for row in rows if row["MESH"] == "ambient"]
        if len(found) != enrolled:
            raise StoryError(f"in the mesh: {', '.join(found) or 'nobody'}")
        self.console.say(f"{len(rows)} pods, {enrolled or 'none'} of them in the mesh")

    def go_on(self) -> None:
        """Some more requests for the page, and none may have failed."""
        self.everybody.take(MORE, since=time.monotonic())
        self.stage.none_failed(self.everybody)


def seen_by(server: PodRecord, client: PodRecord) -> dict[str, str]:
    """The fields of the access log's lines about a client, on the server's node."""
    return {
        "src.workload": client.name,
        "dst.workload": server.name,
        "direction": "inbound",
    }


def addresses(pod: PodRecord) -> list[str]:
    """A pod's addresses, as the runner describes it."""
    return list(pod.content["ips"])


def in_full(url: str) -> str:
    """A bookinfo URL as other namespaces must write it."""
    scheme, _, rest = url.partition("://")
    host, port = rest.split(":", 1)
    return f"{scheme}://{host}.bookinfo:{port}"
