"""A stock ztunnel as the node agent of some nodes, where there is one to be had.

`make interop` and `make bench` take its path from the environment (ZTUNNEL); nothing else
needs it. It gets its pods, its resources and its certificates from the same mesh.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.cli import __main__ as cli
from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import app
from deploy.standalone.runner.process import Launch
from deploy.standalone.runner.system import Programs, daemon_launch
from tests.support.mesh import MeshHandle

#: What istio-cni does in a pod: all TCP goes through ztunnel but its own, which is marked.
REDIRECT = """
table inet ztunnel {
  chain output {
    type nat hook output priority -100;
    meta mark & 0xfff == 0x539 return
    fib daddr type local return
    meta l4proto tcp redirect to :15001
  }
  chain prerouting {
    type nat hook prerouting priority -100;
    meta mark & 0xfff == 0x539 return
    tcp dport 15008 return
    meta l4proto tcp redirect to :15006
  }
}
"""


def program() -> Path | None:
    """Where there is one, if there is."""
    path = os.environ.get("ZTUNNEL")
    return Path(path).resolve() if path else None


class ZtunnelMesh(MeshHandle):
    """A mesh whose nodes of these names have ztunnel as their agent."""

    def __init__(
        self,
        place: tuple[str, Path, int],
        nodes: int,
        agents: Sequence[str],
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(*place, nodes, options)
        self.agents = agents

    @property
    def command(self) -> list[str]:
        """`tandem`, by way of main()."""
        return [sys.executable, "-m", "tests.support.ztunnel"]

    @property
    def environment(self) -> dict[str, str]:
        """The same, with who gets a ztunnel."""
        # Its access log is of the level info.
        level = "error" if "off" in self.options else "info"
        own = {"ZTUNNEL_NODES": ",".join(self.agents), "RUST_LOG": level}
        return {**super().environment, **own}

    def redirect(self, *pods: dict[str, Any]) -> None:
        """Have pods' traffic go through ztunnel."""
        for pod in pods:
            subprocess.run(
                ["nsenter", f"--net={pod['netns']}", "nft", "-f", "-"],
                input=REDIRECT,
                text=True,
                check=True,
            )


def ztunnel_launch(config: MeshConfig, programs: Programs, node: str, mount: Path) -> Launch:
    """A node's agent: ztunnel where the environment says so."""
    ours = daemon_launch(config, programs, node, mount)
    found = program()
    if found is None or node not in os.environ["ZTUNNEL_NODES"].split(","):
        return ours
    same = ("PATH", "HOME", "NODE_NAME", "CLUSTER_ID", "INSTANCE_IP", "POD_NAME",
            "POD_NAMESPACE", "XDS_ROOT_CA", "CA_ROOT_CA")  # fmt: skip
    settings = {name: ours.environment[name] for name in same}
    settings |= {
        "XDS_ADDRESS": f"https://{ours.environment['XDS_ADDRESS']}",
        "CA_ADDRESS": f"https://{ours.environment['CA_ADDRESS']}",
        "AUTH_TOKEN": ours.environment["TOKEN_PATH"],
        "INPOD_UDS": ours.environment["ZDS_PATH"],
        "PROXY_MODE": "shared",
        # Else pods would need policy routing as well.
        "ENABLE_ORIG_SRC": "false",
        "RUST_LOG": os.environ["RUST_LOG"],
    }
    return replace(ours, argv=(str(found),), environment=settings)


def main() -> int:
    """`tandem`, with ztunnel in place of some node agents."""
    app.daemon_launch = ztunnel_launch
    return cli.main()


if __name__ == "__main__":
    raise SystemExit(main())
