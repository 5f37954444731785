"""A text of YAML documents to objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from deploy.standalone.control.gatewayapi import ClusterObject
from deploy.standalone.control.manifests import authentications, entries, plugins, policies
from deploy.standalone.control.manifests.destinationrules import read_destination_rule
from deploy.standalone.control.manifests.envoyfilters import VERSIONS as ENVOY_VERSIONS
from deploy.standalone.control.manifests.envoyfilters import read_envoy_filter
from deploy.standalone.control.manifests.fields import Fields, Report
from deploy.standalone.control.manifests.gateways import GROUP, read_gateway, read_grant
from deploy.standalone.control.manifests.grpcroutes import read_grpc_route
from deploy.standalone.control.manifests.meshconfig import read_config_map
from deploy.standalone.control.manifests.pods import (
    read_deployment,
    read_namespace,
    read_node,
    read_pod,
    read_service_account,
)
from deploy.standalone.control.manifests.requestauthentications import (
    read_request_authentication,
)
from deploy.standalone.control.manifests.routes import read_route
from deploy.standalone.control.manifests.services import read_service
from deploy.standalone.control.manifests.streamroutes import read_tcp_route, read_tls_route
from deploy.standalone.control.manifests.virtualservices import read_virtual_service
from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem

#: More is no manifest, and would hold up everything else.
MAX_SIZE = 64 << 20

Reader = Callable[[Fields, Path | None], ClusterObject | None]

TLS_VERSIONS = tuple(f"{GROUP}/{version}" for version in ("v1", "v1alpha3", "v1alpha2"))
KINDS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "Namespace": (("v1",), read_namespace),
    "Node": (("v1",), read_node),
    "ServiceAccount": (("v1",), read_service_account),
    "Pod": (("v1",), read_pod),
    "Deployment": (("apps/v1",), read_deployment),
    "Service": (("v1",), read_service),
    "ConfigMap": (("v1",), read_config_map),
    "Gateway": ((f"{GROUP}/v1", f"{GROUP}/v1beta1"), read_gateway),
    "HTTPRoute": ((f"{GROUP}/v1", f"{GROUP}/v1beta1"), read_route),
    "GRPCRoute": ((f"{GROUP}/v1", f"{GROUP}/v1alpha2"), read_grpc_route),
    "TCPRoute": ((f"{GROUP}/v1", f"{GROUP}/v1alpha2"), read_tcp_route),
    "TLSRoute": (TLS_VERSIONS, read_tls_route),
    "ReferenceGrant": ((f"{GROUP}/v1", f"{GROUP}/v1beta1"), read_grant),
    "ServiceEntry": (entries.VERSIONS, entries.read_service_entry),
    "WorkloadEntry": (entries.VERSIONS, entries.read_workload_entry),
    "VirtualService": (entries.VERSIONS, read_virtual_service),
    "DestinationRule": (entries.VERSIONS, read_destination_rule),
    "AuthorizationPolicy": (policies.VERSIONS, policies.read_policy),
    "EnvoyFilter": (ENVOY_VERSIONS, read_envoy_filter),
    "PythonFilter": (plugins.VERSIONS, plugins.read_plugin),
    "PeerAuthentication": (policies.VERSIONS, authentications.read_authentication),
    "RequestAuthentication": (policies.VERSIONS, read_request_authentication),
}


@dataclass(frozen=True, slots=True)
class Document:
    """An object with its source text, so that it can be kept and read again."""

    value: ClusterObject
    text: str

    @property
    def line(self) -> int:
        """The line where it begins, from 1."""
        return self.value.origin.line


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that can't be used; what could be read of its name ("" if nothing)."""

    namespace: str
    name: str

    def may_be(self, key: Key) -> bool:
        """Whether this could have been meant to be that object."""
        if not self.name:
            return True
        return self.name == key.name and key.namespace in {"", self.namespace}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a text gave. unreadable: it is no YAML, so nothing is known of it."""

    documents: tuple[Document, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    problems: tuple[Problem, ...] = ()
    unreadable: bool = False


def load(content: bytes | str, file: str, folder: Path | None, first_line: int = 1) -> Loaded:
    """Read a text of YAML documents; never raises.

    file: names it in problems; folder: where a relative workingDir starts, None
    where there is no such place; first_line: the text's place in its file.
    """
    report = Report(file, first_line - 1)
    if len(content) > MAX_SIZE:
        return broken(report, 0, f"{len(content)} bytes are too much: at most {MAX_SIZE}")
    try:
        text = content if isinstance(content, str) else content.decode()
        nodes = compose(text)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n")
        return broken(report, line, "not UTF-8 text")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        return broken(report, mark.line if mark else 0, f"not valid YAML: {what}")
    except (yaml.YAMLError, RecursionError) as error:
        return broken(report, 0, f"not valid YAML: {error}")
    documents: list[Document] = []
    rejected: list[Rejected] = []
    problems: list[Problem] = []
    keys: set[Key] = set()
    for node in nodes:
        inner = Report(file, first_line - 1)
        fields = Fields(node, "", inner)
        value = read_object(fields, folder)
        if value is not None and value.key in keys:
            fields.child("metadata").wrong("name", f"{value.key} is in this file already")
        if inner.failed:
            rejected.append(Rejected(*names_of(node)))
        elif value is not None:
            keys.add(value.key)
            documents.append(Document(value, slice_of(text, node)))
        problems += inner.problems
    return Loaded(tuple(documents), tuple(rejected), tuple(problems))


def compose(text: str) -> list[yaml.Node]:
    """The text's documents, without the empty ones."""
    loader = yaml.CSafeLoader(text)
    try:
        nodes = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and node.tag != "tag:yaml.org,2002:null":
                nodes.append(node)
        return nodes
    finally:
        loader.dispose()


def broken(report: Report, line: int, message: str) -> Loaded:
    """What an unreadable text gives. line: from 0."""
    problem = Problem(report.file, line + 1 + report.line_offset, "", message)
    return Loaded(problems=(problem,), unreadable=True)


def read_object(fields: Fields, folder: Path | None) -> ClusterObject | None:
    """Read one document; None when it is of no use, with the reason reported."""
    if fields.report.failed:
        return None
    version, kind = fields.required("apiVersion"), fields.required("kind")
    if not version or not kind:
        return None
    if kind not in KINDS:
        fields.wrong("kind", f"unknown kind {kind!r}: known are {', '.join(KINDS)}")
        return None
    versions, reader = KINDS[kind]
    if version not in versions:
        fields.wrong("apiVersion", f"{kind} is of {' or '.join(versions)}, not {version!r}")
        return None
    try:
        value = reader(fields, folder)
    except yaml.YAMLError as error:
        fields.wrong("", f"can't be merged: {error}")
        return None
    if value is not None:
        fields.end()
    return value


def names_of(node: yaml.Node) -> tuple[str, str]:
    """Namespace and name of a rejected document, as far as they can be read."""
    silent = Report("")
    metadata = Fields(node, "", silent).child("metadata")
    name = metadata.text("name")
    return metadata.text("namespace") or "default", name


def slice_of(text: str, node: yaml.Node) -> str:
    """A document's own text, indented as it was."""
    start = node.start_mark
    return " " * start.column + text[start.index : node.end_mark.index]
