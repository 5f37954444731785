"""Meshes as values: YAML in, views out, without a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from deploy.standalone.control.allocate import Ranges
from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.derive import derive
from deploy.standalone.control.gatewayapi import ClusterObject
from deploy.standalone.control.manifests.documents import Loaded, load
from deploy.standalone.control.memo import Memo
from deploy.standalone.control.objects import IpAddress, Key
from deploy.standalone.control.pods import PodName, PodStatus
from deploy.standalone.control.view import Carried, Settings, View
from deploy.standalone.control.waypoints import WaypointSettings
from proto import workload_pb2 as pb

FILE = "/mesh/mesh.yaml"
DUAL = Ranges(IPv4Network("10.96.0.0/16"), IPv6Network("fd00:10:96::/112"))
WAYPOINTS = WaypointSettings(
    "Kubernetes", "10.244.255.253:15012", Path("/run/tandem/t/roots.pem")
)
SETTINGS = Settings(("node1",), DUAL, WAYPOINTS)

AMBIENT = """
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec:
  gatewayClassName: tandem-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"""


def documents(*parts: str) -> str:
    """One text of several documents."""
    return "\n---\n".join(part.strip("\n") for part in parts)


def read(text: str, file: str = FILE) -> Loaded:
    """Load a text as if it were in a file."""
    return load(text, file, Path(file).parent)


def good(text: str) -> dict[Key, ClusterObject]:
    """The objects of a text that has no problems."""
    loaded = read(text)
    assert loaded.problems == ()
    return {document.value.key: document.value for document in loaded.documents}


def one(text: str) -> ClusterObject:
    """The only object of a text that has no problems."""
    (found,) = good(text).values()
    return found


def complaints(text: str) -> list[tuple[int, str, str]]:
    """Line, field and message of each problem."""
    return [(p.line, p.field, p.message) for p in read(text).problems]


def deployment(
    name: str, namespace: str = "shop", replicas: int = 1, version: str = "v1", **labels: str
) -> str:
    """A Deployment that listens on 8080, port name "web"."""
    more = "".join(f", {key.replace('_', '-')}: {value}" for key, value in labels.items())
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, version: {version}{more}}}}}
    spec:
      containers:
      - name: main
        command: [serve]
        ports: [{{name: web, containerPort: 8080}}]
"""


def service(name: str, namespace: str = "shop", spec: str = "") -> str:
    """A Service of app NAME, port 80 named http, further lines of its spec."""
    extra = "".join(f"  {line}\n" for line in spec.splitlines())
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
{extra}"""


def route(rules: str, parent: str = "web", name: str = "web", namespace: str = "shop") -> str:
    """An HTTPRoute of a Service."""
    inner = "".join(f"  {line}\n" for line in rules.strip("\n").splitlines())
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {parent}}}]
  rules:
{inner}"""


def policy(
    spec: str, name: str = "rules", namespace: str = "shop", annotations: str = ""
) -> str:
    """An AuthorizationPolicy; spec: lines of YAML."""
    return istio("security", "AuthorizationPolicy", name, spec, namespace, annotations)


def authentication(spec: str, name: str = "default", namespace: str = "shop") -> str:
    """A PeerAuthentication; spec: lines of YAML."""
    return istio("security", "PeerAuthentication", name, spec, namespace, "")


def entry(spec: str, name: str = "out", namespace: str = "shop", annotations: str = "") -> str:
    """A ServiceEntry; spec: lines of YAML."""
    return istio("networking", "ServiceEntry", name, spec, namespace, annotations)


def workload_entry(
    spec: str, name: str = "vm", namespace: str = "shop", annotations: str = ""
) -> str:
    """A WorkloadEntry; spec: lines of YAML."""
    return istio("networking", "WorkloadEntry", name, spec, namespace, annotations)


def plugin(spec: str, name: str = "tenants", namespace: str = "shop") -> str:
    """A PythonFilter; spec: lines of YAML."""
    inner = "".join(f"  {line}\n" for line in spec.strip("\n").splitlines())
    return f"""
apiVersion: tandem.io/v1alpha1
kind: PythonFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{inner}"""


def istio(group: str, kind: str, name: str, spec: str, namespace: str, annotations: str) -> str:
    """An object of one of Istio's groups."""
    inner = "".join(f"  {line}\n" for line in spec.strip("\n").splitlines())
    return f"""
apiVersion: {group}.istio.io/v1
kind: {kind}
metadata:
  name: {name}
  namespace: {namespace}
  annotations: {{{annotations}}}
spec:
{inner}"""


class Mesh:
    """Derives one view after another from texts and statuses."""

    def __init__(self, *parts: str, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.memo = Memo()
        self.statuses: dict[PodName, PodStatus] = {}
        self.resolved: dict[str, tuple[IpAddress, ...]] = {}
        self.catalog = Catalog()
        self.carried = Carried()
        self.view: View
        self.write(*parts)

    def write(self, *parts: str) -> View:
        """Replace the file."""
        self.catalog = self.catalog.loaded(FILE, read(documents(*parts)))
        return self.derive()

    def derive(self) -> View:
        """One more step."""
        before = replace(self.carried, names=dict(self.resolved))
        self.view = derive(self.catalog, self.statuses, before, self.settings, self.memo)
        self.carried = self.view.carried
        return self.view

    def names(self) -> list[str]:
        """The pods that should run."""
        return sorted(name for _, name in self.view.pods)

    def report(self, *, ready: bool = True, only: str = "") -> View:
        """Say of every pod (whose name begins so) that it runs."""
        for number, (name, each) in enumerate(sorted(self.view.pods.items())):
            if name[1].startswith(only):
                ips = (
                    ip_address(f"10.244.1.{number + 10}"),
                    ip_address(f"fd00::{number + 10}"),
                )
                self.statuses[name] = PodStatus(each.pod.uid, ips, "Running", ready)
        return self.derive()

    def address(self, name: str) -> pb.Address:
        """A resource as waypoints get it."""
        return pb.Address.FromString(self.view.contents.waypoint[name].value)

    def service(self, name: str, namespace: str = "shop") -> pb.Service:
        """A service's resource."""
        return self.address(f"{namespace}/{name}.{namespace}.svc.cluster.local").service

    def workloads(self) -> Mapping[str, pb.Workload]:
        """The workloads' resources by pod name."""
        return {
            name.rpartition("/")[2]: self.address(name).workload
            for name in self.view.contents.waypoint
            if "//Pod/" in name
        }

    def messages(self) -> list[str]:
        """What is wrong."""
        return [f"{problem.field}: {problem.message}" for problem in self.view.problems]
