"""In whose name a caller gets a certificate."""

from __future__ import annotations

from deploy.standalone.control.auth.places import Caller
from deploy.standalone.control.errors import ForbiddenError, RequestError
from deploy.standalone.control.view import View
from ztunnel_compat.errors import IdentityError
from ztunnel_compat.identity import Identity


def identity_for(caller: Caller, asked: str, trust_domain: str, view: View) -> Identity:
    """The identity that a certificate will have. asked: another's, or empty.

    As istiod's CA_TRUSTED_NODE_ACCOUNTS has it: a node's agent may ask for the
    service accounts of pods on its node, and of WorkloadEntries with an address of its
    node's, all others for themselves alone. Raises ForbiddenError, RequestError.
    """
    claims = caller.claims
    own = Identity(trust_domain, claims.namespace, claims.service_account)
    if not asked:
        return own
    try:
        identity = Identity.parse(asked)
    except IdentityError as error:
        raise RequestError(f"ImpersonatedIdentity: {error}") from error
    if identity == own:
        return own
    if not caller.is_agent:
        raise ForbiddenError(
            f"ImpersonatedIdentity {asked}: only a node's agent may ask for others, and this "
            f"is {claims.namespace}/{claims.service_account}"
        )
    if identity.trust_domain != trust_domain:
        raise ForbiddenError(
            f"ImpersonatedIdentity {asked}: this mesh's trust domain is {trust_domain!r}"
        )
    if not runs_on(identity, claims.node, view):
        raise ForbiddenError(
            f"ImpersonatedIdentity {asked}: no pod of that service account is on node "
            f"{claims.node}, and no WorkloadEntry of it has an address of that node's"
        )
    return identity


def runs_on(identity: Identity, node: str, view: View) -> bool:
    """Whether a pod of this service account belongs on a node, or a WorkloadEntry."""
    wanted = (node, identity.namespace, identity.service_account)
    return any(
        (each.pod.node, each.pod.namespace, each.pod.template.service_account) == wanted
        for each in view.pods.values()
    ) or any(
        (each.node, each.namespace, each.outside.service_account or "default") == wanted
        for each in view.outsides.values()
    )
