"""The steps about where requests go: a waypoint, weights, a header, a killed pod."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from deploy.demo import route
from deploy.demo.console import Console
from deploy.demo.errors import StoryError
from deploy.demo.namespace import with_labels
from deploy.demo.pods import not_yet_endpoint, still_endpoint, victim
from deploy.demo.security import AMBIENT
from deploy.demo.stage import Stage
from deploy.demo.stream import Stream, failures

BOOKINFO = Path(__file__).parent.parent / "samples" / "bookinfo"
ROUTE, WAYPOINT = "route-reviews.yaml", "waypoint.yaml"
USE_WAYPOINT = {"istio.io/use-waypoint": "waypoint"}
REQUESTS = 500
JASONS = 200
WAYPOINT_SECONDS = 60.0
# A connection goes the way that it was made, and bookinfo's programs use none for longer.
KEPT = 3.0
# An endpoint that the control plane has taken out: one push.
PUSH = 0.25
# A request that the killed process had begun may have been sent this long before.
LOOK_BACK = 1.0


class Routing:
    """The steps; everybody: the requests that go on throughout."""

    def __init__(self, stage: Stage, everybody: Stream) -> None:
        self.stage = stage
        self.console: Console = stage.console
        self.everybody = everybody
        self.mesh = stage.mesh
        self.route = stage.folder / ROUTE

    def waypoint(self) -> None:
        """A waypoint in front of the namespace's services, and a route for one of them."""
        self.stage.add(BOOKINFO / WAYPOINT, "a Gateway")
        file = self.stage.folder / "bookinfo.yaml"
        self.stage.save(file.name, with_labels(file.read_text(), AMBIENT | USE_WAYPOINT))
        self.console.say("the Namespace's label: istio.io/use-waypoint: waypoint")
        self.mesh.wait("the waypoint", WAYPOINT_SECONDS, self.unprogrammed)
        self.console.say(f"the waypoint runs on {self.stage.pod('waypoint').node}")
        self.stage.add(BOOKINFO / ROUTE, "an HTTPRoute, 80/20")
        self.console.say(f"counting when bookinfo's connections are new: {KEPT:.0f} s")
        counted = self.stage.settling() + KEPT
        self.stage.split({"v1": 80, "v2": 20}, self.everybody.take(REQUESTS, since=counted))
        self.stage.none_failed(self.everybody)

    def unprogrammed(self) -> str | None:
        """Why the waypoint isn't in use; None when it is."""
        rows = self.mesh.control.table("waypoints").records()
        if not rows or rows[0]["PROGRAMMED"] != "True":
            return "the waypoint is starting"
        return None

    def weights(self) -> None:
        """The route is edited while requests go on."""
        weights = {"reviews-v1": 50, "reviews-v2": 50}
        counted = self.edit(route.with_weights(self.route.read_text(), weights))
        self.stage.split({"v1": 50, "v2": 50}, self.everybody.take(REQUESTS, since=counted))
        self.stage.none_failed(self.everybody)

    def header(self) -> None:
        """One user gets one version."""
        text = self.route.read_text()
        counted = self.edit(route.with_header_match(text, "end-user", "jason", "reviews-v2"))
        with self.stage.stream("end-user:jason") as jason:
            self.console.say("jason:")
            self.stage.split({"v1": 0, "v2": 100}, jason.take(JASONS, since=counted))
            self.console.say("everybody else:")
            others = self.everybody.take(REQUESTS, since=counted)
        self.stage.split({"v1": 50, "v2": 50}, others)
        self.stage.none_failed(self.everybody, jason)

    def kill(self) -> None:
        """A pod dies; it is taken out, started again, and used again."""
        name, pid = victim(self.mesh.pods(), "reviews-v2")
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.console.say(f"killed {name} (process {pid})")
        self.mesh.watch("the endpoints", lambda snapshot: still_endpoint(snapshot, name))
        out = time.monotonic()
        safe = out + PUSH
        self.everybody.take(REQUESTS, since=safe)
        lost = [
            a for a in failures(self.everybody.answers(since=killed - LOOK_BACK)) if a.at < safe
        ]
        self.console.say(
            f"out of the endpoints after {out - killed:.2f} s;"
            f" {len(lost)} requests failed until then"
        )
        self.mesh.watch("the pod", lambda snapshot: not_yet_endpoint(snapshot, name))
        self.console.say(f"started again, and back after {time.monotonic() - killed:.1f} s")
        after = self.everybody.answers(since=safe)
        self.stage.check(after)
        if not after:
            raise StoryError("no request was made since it was out")
        self.console.say(f"{len(after)} requests since it was out, none failed")

    def edit(self, text: str) -> float:
        """Save the route; returns from when on requests are counted."""
        self.stage.save(ROUTE, text)
        return self.stage.settling()
