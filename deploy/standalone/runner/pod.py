"""One pod, from its network namespace to its last breath."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable

from deploy.standalone.runner import cgroups, netns, podfiles, wiring
from deploy.standalone.runner.container import Container, Surroundings
from deploy.standalone.runner.errors import NetworkError
from deploy.standalone.runner.node import Node
from deploy.standalone.runner.process import Launch
from deploy.standalone.runner.spec import ContainerSpec, PodSpec, Readiness
from deploy.standalone.runner.status import PodStatus, pod_phase
from deploy.standalone.runner.tokens import TokenFile, TokenSource
from ztunnel_compat.errors import ZdsError
from ztunnel_compat.runtime.tasks import Tasks
from ztunnel_compat.zds import AddWorkload

logger = logging.getLogger(__name__)

#: Seconds until a pod is tried again that the kernel or the daemon refused.
RETRY = 1.0


class Pod:
    """A pod of one uid; ``report`` gets its status after each change."""

    def __init__(
        self,
        spec: PodSpec,
        node: Node,
        report: Callable[[PodStatus], None],
        tokens: TokenSource,
    ) -> None:
        self.spec = spec
        self.node = node
        self.report = report
        self.title = f"pod {spec.namespace}/{spec.name}"
        self.ips = node.addresses.take(self.title)
        config = node.config
        self.wire = wiring.plan_wire(config, node.name, *spec.key, self.ips)
        self.cgroup = config.pod_cgroup(node.cgroup_mount, node.name, *spec.key)
        self.folder = config.pod_dir(*spec.key)
        asked = {"namespace": spec.namespace, "pod": spec.name, "uid": spec.uid}
        self.token = TokenFile(tokens, config.pod_token(*spec.key), asked)
        self.containers: list[Container] = []
        self.message = ""
        self.stopping = False
        self.enrolled = asyncio.Event()
        self.enrolment: asyncio.Task[None] | None = None
        self.plugging: asyncio.Task[None] | None = None
        self.tasks = Tasks()
        self.lasting = Tasks()

    # ---- what it says of itself

    def status(self) -> PodStatus:
        """How the pod is."""
        states = [container.state for container in self.containers]
        messages = [self.message, *(state.message for state in states)]
        ready = bool(states) and all(state.ready for state in states)
        return PodStatus(
            namespace=self.spec.namespace,
            name=self.spec.name,
            uid=self.spec.uid,
            node=self.spec.node,
            ips=self.ips,
            phase=pod_phase(states),
            ready=ready and not self.stopping,
            restarts=sum(state.restarts for state in states),
            message="; ".join(message for message in messages if message),
        )

    def changed(self) -> None:
        """Something changed: say so, to the control plane and in pod.json."""
        self.report(self.status())
        if self.folder.is_dir():
            podfiles.write_json(self.folder / "pod.json", self.record())

    def record(self) -> dict[str, object]:
        """The contents of pod.json."""
        first = self.containers[0] if self.containers else None
        return {
            "namespace": self.spec.namespace,
            "name": self.spec.name,
            "node": self.spec.node,
            "netns": str(netns.path(self.wire.netns)),
            "cgroup": str(self.cgroup),
            "resolv_conf": str(self.folder / "resolv.conf"),
            "hosts": str(self.folder / "hosts"),
            "ips": list(self.ips),
            "pid": first.pid if first else None,
            "environment": dict(first.place.environment) if first else {},
            "directory": first.place.directory if first else "/",
        }

    def say(self, message: str) -> None:
        """Change what the pod itself has to say."""
        if message != self.message:
            self.message = message
            self.changed()

    # ---- coming up

    def start(self) -> None:
        """Bring the pod up in the background."""
        self.tasks.spawn(self.run(), self.title)

    async def run(self) -> None:
        """Make the pod's place, have it enrolled if it shall be, run its processes."""
        await self.settle()
        self.containers = [self.make_container(each) for each in self.spec.containers]
        self.say("")
        self.enrol(self.spec.enrolled)
        # An enrolled pod's process must not make one connection unprotected.
        await self.enrolled.wait()
        if podfiles.wants_token(self.spec):
            self.say("waiting for a token")
            await self.token.first()
            self.tasks.spawn(self.token.keep(), f"token of {self.title}")
            self.say("")
        for container in self.containers:
            self.tasks.spawn(container.run(), container.around.title)

    async def settle(self) -> None:
        """Make the pod's network, cgroup and files; again, until the kernel agrees."""
        while True:
            self.say("the network is being made")
            # Not cancelled with us: a thread that makes a netns can't be stopped
            # halfway, and what it made must be known when it is removed.
            self.plugging = self.lasting.spawn(self.node.plug(self.wire), self.title)
            try:
                await asyncio.shield(self.plugging)
                self.make_place()
                return
            except (NetworkError, OSError) as error:
                logger.error("%s: %s", self.title, error)
                self.say(f"can't be made: {error}")
                wiring.remove_pod(self.wire)
                await asyncio.sleep(RETRY)

    def make_place(self) -> None:
        """Make the pod's cgroup and files."""
        self.cgroup.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        config, spec = self.node.config, self.spec
        (self.folder / "resolv.conf").write_text(podfiles.resolv_conf(config, spec.namespace))
        (self.folder / "hosts").write_text(podfiles.hosts(spec.name, self.ips))

    def make_container(self, spec: ContainerSpec) -> Container:
        """A container of this pod, not yet running."""
        place = Launch(
            argv=spec.command,
            cgroup=str(self.cgroup / spec.name),
            netns=str(netns.path(self.wire.netns)),
            environment=podfiles.environment(self.spec, spec, self.ips, self.token.path),
            directory=spec.working_dir or "/",
            hostname=self.spec.name,
            binds=tuple(
                (str(self.folder / name), f"/etc/{name}") for name in ("resolv.conf", "hosts")
            ),
        )
        around = Surroundings(
            title=f"{self.title}, container {spec.name}",
            log=self.folder / "log",
            restart_policy=self.spec.restart_policy,
            check=self.probe,
            changed=self.changed,
        )
        return Container(spec, place, around)

    async def probe(self, readiness: Readiness) -> str:
        """One readiness probe, from the node."""
        return await self.node.prober.check(readiness, self.ips[0])

    # ---- enrolment

    def update(self, spec: PodSpec) -> None:
        """Take a spec of the same uid: it can differ in whether the pod is enrolled."""
        if spec.enrolled != self.spec.enrolled and self.containers:
            self.enrol(spec.enrolled)
        self.spec = spec

    def enrol(self, wanted: bool) -> None:
        """Have the pod enrolled, or no more; a running process goes on either way."""
        if self.enrolment is not None:
            self.enrolment.cancel()
        work = self.enter_mesh() if wanted else self.leave_mesh()
        self.enrolment = self.tasks.spawn(work, f"enrolment of {self.title}")

    async def enter_mesh(self) -> None:
        """Give the pod to the node's daemon; again, until it takes it."""
        spec = self.spec
        workload = AddWorkload(spec.uid, spec.name, spec.namespace, spec.service_account)
        if not self.enrolled.is_set():
            self.say(f"waiting for the daemon of {self.node.name} to enrol it")
        while True:
            try:
                with netns.opened(self.wire.netns) as fd:
                    await self.node.zds.add(workload, fd)
                break
            except (ZdsError, OSError) as error:
                logger.error("%s is not enrolled: %s", self.title, error)
                self.say(f"not enrolled: {error}")
                await asyncio.sleep(RETRY)
        self.say("")
        self.enrolled.set()

    async def leave_mesh(self) -> None:
        """Take the pod from the node's daemon."""
        self.enrolled.set()
        await self.node.zds.remove(self.spec.uid)
        self.say("")

    # ---- going down

    async def stop(self, grace: float, drain: Callable[[], Awaitable[None]]) -> None:
        """End the pod, leaving nothing of it.

        grace: seconds that its processes get to end by themselves; drain is
        awaited between the report that it is not ready and the end of them.
        """
        self.stopping = True
        if self.containers:
            self.changed()
            await drain()
        await self.tasks.close()
        if self.plugging is not None:
            await asyncio.wait({self.plugging})
        await asyncio.gather(*(container.stop(grace) for container in self.containers))
        await cgroups.kill(self.cgroup)
        cgroups.remove(self.cgroup)
        await self.node.zds.remove(self.spec.uid)
        wiring.remove_pod(self.wire)
        self.node.addresses.give_back(self.title)
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            os.rmdir(self.folder.parent)  # noqa: PTH106
        except OSError:  # other pods of the namespace
            pass
