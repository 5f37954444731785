from __future__ import annotations

import pytest

from deploy.standalone.control.errors import ForbiddenError, UnknownError
from tests.deploy.standalone.control.conftest import Control
from tests.deploy.standalone.control.helpers import deployment, documents

AGENTS = """
apiVersion: v1
kind: Pod
metadata: {name: trap, namespace: tandem-system}
spec:
  serviceAccountName: ztunnel
  containers: [{name: main, command: [serve]}]
"""


async def test_tokens_say_what_there_is(control: Control) -> None:
    control.write(documents(deployment("web"), AGENTS))
    await control.until(lambda view: len(view.pods) == 2)
    claims = control.tokens.verify(control.desk.for_agent("node2").token)
    assert (claims.namespace, claims.service_account) == ("tandem-system", "ztunnel")
    assert (claims.node, claims.pod) == ("node2", "node2")
    (pod,) = [p.pod for p in control.engine.view.pods.values() if p.pod.owner]
    claims = control.tokens.verify(control.desk.for_pod("shop", pod.name, pod.uid).token)
    assert (claims.namespace, claims.service_account) == ("shop", "default")
    assert (claims.pod, claims.pod_uid, claims.node) == (pod.name, pod.uid, "node1")
    with pytest.raises(UnknownError, match="there is no node 'node3': node1, node2"):
        control.desk.for_agent("node3")
    with pytest.raises(UnknownError, match="no pod shop/web of uid u"):
        control.desk.for_pod("shop", "web", "u")
    with pytest.raises(UnknownError, match="of uid before"):
        control.desk.for_pod("shop", pod.name, "before")


async def test_no_pod_becomes_an_agent(control: Control) -> None:
    control.write(AGENTS)
    await control.until(lambda view: view.pods)
    (view,) = control.engine.view.pods.values()
    with pytest.raises(ForbiddenError, match="is the node agents': use another"):
        control.desk.for_pod("tandem-system", "trap", view.pod.uid)
