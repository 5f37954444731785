"""Who a pod is."""

from __future__ import annotations

from dataclasses import dataclass

from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash

#: Istio's, until the control plane names another.
TRUST_DOMAIN = Workload("").trust_domain


@dataclass(frozen=True, slots=True)
class Account:
    """A pod's service account, as enrolment says: it doesn't know the trust domain."""

    namespace: str
    service_account: str

    def identity(self, workload: Workload | None) -> Identity:
        """The pod's identity; workload: what the control plane says of it, if it has."""
        domain = TRUST_DOMAIN if workload is None else workload.trust_domain
        return Identity(domain, self.namespace, self.service_account)


def workload_identity(workload: Workload) -> Identity:
    """A workload's identity, by the control plane alone."""
    return workload.identity


def identity_hash(identity: Identity) -> int:
    """An identity as the kernel knows it; 0 stands for none."""
    return name_hash(str(identity))
