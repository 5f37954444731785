"""Hands out tokens to who may use the control API, which is root alone."""

from __future__ import annotations

import uuid

from deploy.standalone.control.auth.places import (
    AGENT_ACCOUNT,
    AGENT_NAMESPACE,
    NodeAddresses,
    is_agent,
)
from deploy.standalone.control.auth.tokens import Claims, Minted, Tokens
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import ForbiddenError, UnknownError
from deploy.standalone.control.pods import UID_SPACE


class TokenDesk:
    """Makes tokens for what there is."""

    def __init__(self, tokens: Tokens, engine: Engine, nodes: NodeAddresses) -> None:
        self.tokens = tokens
        self.engine = engine
        self.nodes = nodes

    def for_agent(self, node: str) -> Minted:
        """A node agent's token; raises UnknownError."""
        if node not in self.nodes:
            known = ", ".join(sorted(self.nodes))
            raise UnknownError(f"there is no node {node!r}: {known}")
        uid = str(uuid.uuid5(UID_SPACE, f"{AGENT_NAMESPACE}/{node}"))
        return self.tokens.mint(Claims(AGENT_NAMESPACE, AGENT_ACCOUNT, node, uid, node))

    def for_pod(self, namespace: str, name: str, uid: str) -> Minted:
        """A pod's token; raises UnknownError, ForbiddenError."""
        known = self.engine.view.pods.get((namespace, name))
        if known is None or known.pod.uid != uid:
            raise UnknownError(f"there is no pod {namespace}/{name} of uid {uid}")
        pod = known.pod
        claims = Claims(namespace, pod.template.service_account, name, uid, pod.node)
        if is_agent(claims):
            raise ForbiddenError(
                f"pod {namespace}/{name}: service account {AGENT_NAMESPACE}/{AGENT_ACCOUNT} "
                "is the node agents': use another"
            )
        return self.tokens.mint(claims)
