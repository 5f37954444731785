"""MeshConfig: the text ``mesh`` in the ConfigMap istio of the root namespace."""

from __future__ import annotations

from pathlib import Path

import yaml

from deploy.standalone.control.extensionapi import (
    AuthzProvider,
    BodyCheck,
    MeshConfig,
    PathNormalization,
)
from deploy.standalone.control.istioapi import ROOT_NAMESPACE
from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.entries import HOST_NAME
from deploy.standalone.control.manifests.fields import Fields, Report
from deploy.standalone.control.manifests.metadata import LABEL, read_metadata

NAME = "istio"
KINDS = ("envoyExtAuthzHttp", "envoyExtAuthzGrpc")
MOST_BODY = 1 << 20
NO_EFFECT = "waypoints here have no use for it"


def read_config_map(document: Fields, _folder: Path | None) -> MeshConfig | None:
    """Read a ConfigMap; None, with a notice, for any but the mesh's."""
    metadata = read_metadata(document)
    data = document.child("data")
    document.ignore("binaryData", "immutable")
    if (metadata.namespace, metadata.name) != (ROOT_NAMESPACE, NAME):
        document.notice(
            "metadata", f"without effect: of ConfigMaps only {ROOT_NAMESPACE}/{NAME} is read"
        )
        return None
    data.without_effect({"meshNetworks": NO_EFFECT})
    mesh = read_text(data, "mesh")
    providers: tuple[AuthzProvider, ...] = ()
    paths = PathNormalization.DEFAULT
    if mesh is not None:
        paths = read_paths(mesh.child("pathNormalization"))
        providers = read_mesh(mesh)
        document.report.problems += mesh.report.problems
    data.end()
    return MeshConfig(metadata.namespace, metadata.name, providers, document.origin, paths)


def read_paths(fields: Fields) -> PathNormalization:
    """Read ``pathNormalization``."""
    known = list(PathNormalization)
    found = PathNormalization(fields.choice("normalization", known, PathNormalization.DEFAULT))
    fields.end()
    return found


def read_text(data: Fields, field: str) -> Fields | None:
    """A field that holds YAML of its own; None where there is none."""
    text, node = data.text(field), data.value(field)
    if not text.strip() or not isinstance(node, yaml.ScalarNode):
        return None
    block = node.style in {"|", ">"}
    first = node.start_mark.line + data.report.line_offset + block
    try:
        inner = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        data.wrong(field, f"not valid YAML: {error}")
        return None
    if inner is None:
        return None
    return Fields(inner, data.at(field), Report(data.report.file, first))


def read_mesh(mesh: Fields) -> tuple[AuthzProvider, ...]:
    """Read what there is of use in a MeshConfig."""
    found: list[AuthzProvider] = []
    for fields in mesh.children("extensionProviders"):
        provider = read_provider(fields)
        if provider is None:
            continue
        if provider.name in {each.name for each in found}:
            fields.wrong("name", f"there is a provider {provider.name} already")
        found.append(provider)
    for name in mesh.values.keys() - mesh.known:
        mesh.notice(name, f"without effect: {NO_EFFECT}")
    return tuple(found)


def read_provider(fields: Fields) -> AuthzProvider | None:
    """Read one of ``extensionProviders``; None, with a notice, for other kinds."""
    name = fields.required("name")
    kind = next((each for each in KINDS if fields.has(each)), None)
    if kind is None:
        fields.ignore(*fields.values)
        fields.notice("", f"without effect: {NO_EFFECT}; known are {', '.join(KINDS)}")
        return None
    inner = fields.child(kind)
    http = kind == "envoyExtAuthzHttp"
    prefix = inner.text("pathPrefix") if http else ""
    if prefix and not prefix.startswith("/"):
        inner.wrong("pathPrefix", f"{prefix!r} doesn't begin with /")
    timeout = read_time(inner, "timeout")
    found = AuthzProvider(
        name=name,
        service=read_service(inner),
        port=inner.integer("port", 0, 1, 65535),
        http=http,
        path=inner.path,
        origin=inner.origin,
        timeout=600.0 if timeout is None else timeout,
        fail_open=inner.boolean("failOpen"),
        status=read_status(inner),
        prefix=prefix,
        headers=read_headers(inner) if http else (),
        add=tuple(inner.labels("includeAdditionalHeadersInCheck").items()) if http else (),
        body=read_body(inner.child("includeRequestBodyInCheck")),
        upstream=inner.texts("headersToUpstreamOnAllow") if http else (),
        on_deny=inner.texts("headersToDownstreamOnDeny") if http else (),
        on_allow=inner.texts("headersToDownstreamOnAllow") if http else (),
        reroute=inner.boolean("clearRouteCache"),
    )
    if inner.value("port") is None:
        inner.wrong("port", "missing")
    for part in (inner, fields):
        part.end()
    return found


def read_service(fields: Fields) -> str:
    """The server's hostname, maybe with its namespace."""
    service = fields.required("service").lower()
    namespace, slash, host = service.rpartition("/")
    wrong = (slash and not LABEL.fullmatch(namespace)) or not HOST_NAME.fullmatch(host)
    if service and (wrong or "." not in host):
        fields.wrong("service", f"{service!r} is no full host name, nor namespace/host name")
    return service


def read_headers(fields: Fields) -> tuple[str, ...]:
    """The names of headers that the server gets; the older field has them too."""
    return fields.texts("includeRequestHeadersInCheck") or fields.texts("includeHeadersInCheck")


def read_status(fields: Fields) -> int:
    """Read ``statusOnError``, which Istio has as a text."""
    value = fields.number_or_text("statusOnError")
    if value is None:
        return 403
    text = str(value)
    if not text.isdecimal() or not 200 <= int(text) < 600:
        fields.wrong("statusOnError", f"{text!r} is no HTTP status from 200 to 599")
        return 403
    return int(text)


def read_body(fields: Fields) -> BodyCheck | None:
    """Read ``includeRequestBodyInCheck``."""
    if fields.missing:
        return None
    found = BodyCheck(
        fields.integer("maxRequestBytes", 0, 1, MOST_BODY),
        fields.boolean("allowPartialMessage"),
        fields.boolean("packAsBytes"),
    )
    if fields.value("maxRequestBytes") is None:
        fields.wrong("maxRequestBytes", "missing")
    fields.end()
    return found
