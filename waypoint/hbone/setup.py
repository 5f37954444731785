"""Both ends of HBONE, and the certificate that they show, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from waypoint.config import Config
from waypoint.hbone.dial import Dialer
from waypoint.hbone.server import HboneServer
from waypoint.worker import Worker
from ztunnel_compat.credentials.holder import Holder
from ztunnel_compat.credentials.secrecy import forbid_dumps
from ztunnel_compat.drivers.ca_client import CaClient
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.errors import CertificateError
from ztunnel_compat.hbone import Baggage
from ztunnel_compat.identity import Identity
from ztunnel_compat.names import pod_uid

#: Seconds between two looks whether there is a certificate.
LOOK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Hbone:
    """What a waypoint has that isn't enrolled."""

    identity: Identity
    holder: Holder
    server: HboneServer
    dialer: Dialer

    async def certified(self, tell: Callable[[str], None]) -> None:
        """Wait for the first certificate; tell: gets why there is none yet."""
        while True:
            try:
                await self.holder.contexts(self.identity)
            except CertificateError as error:
                tell(str(error))
                await asyncio.sleep(LOOK)
            else:
                return

    async def close(self, seconds: float) -> None:
        """Let connections end whose streams are done, then break off the rest."""
        await self.server.close(seconds)
        self.dialer.pool.close("the waypoint stops")

    def dump(self) -> dict[str, Any]:
        """For people, JSON-able; no keys."""
        return {
            "certificates": self.holder.dump(),
            "connections": len(self.server.connections),
            "waiting": len(self.server.waiting),
            "upstream": {
                "connections": self.dialer.pool.total,
                "opened": self.dialer.pool.opened,
                "failures": dict(self.dialer.failures),
            },
        }


def make_hbone(config: Config, worker: Worker, informed: Callable[[], bool]) -> Hbone:
    """Hold a certificate for the waypoint; connect to endpoints by HBONE from now on.

    informed: whether the control plane is heard right now.
    """
    forbid_dumps()
    state = worker.targets.state
    login = Login(
        config.authority.address,
        config.authority.roots,
        config.proxy.token_path,
        config.proxy.cluster_id,
    )
    holder = Holder(CaClient(login, agent=False).fetch, worker.tasks)
    holder.hold(config.identity)
    workload_at = partial(state.workload_at, config.network)
    uid = pod_uid(config.proxy.cluster_id, config.proxy.pod_namespace, config.proxy.pod_name)

    def baggage() -> Baggage:
        workload = state.workload(uid)
        return Baggage() if workload is None else Baggage.of(workload)

    dialer = Dialer(
        identity=config.identity,
        credentials=holder,
        workload_at=workload_at,
        tasks=worker.tasks,
        baggage=baggage,
    )
    worker.connect = dialer.connect
    server = HboneServer(
        worker,
        identity=config.identity,
        credentials=holder,
        trust_domains={config.trust_domain, *config.trust_domain_aliases},
        workload_at=workload_at,
        informed=informed,
        baggage=baggage,
    )
    return Hbone(config.identity, holder, server, dialer)
