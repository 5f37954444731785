"""Authorization servers that MeshConfig names, as Envoy's ExtAuthz."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import V3
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as pb
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from google.protobuf.duration_pb2 import Duration

from deploy.standalone.control.extensionapi import AuthzProvider
from deploy.standalone.control.translate.attached import INVALID_DOMAIN, cluster_name
from deploy.standalone.control.translate.frontends import HTTP, speaks
from deploy.standalone.control.translate.ports import app_protocol
from deploy.standalone.control.translate.sight import Sight
from proto import workload_pb2

#: A server that nobody is: it never answers, and so lets nobody in.
NOBODY = cluster_name(1, INVALID_DOMAIN)


def nobody() -> pb.ExtAuthz:
    """A filter that lets nobody in: there is nobody to ask."""
    made = pb.ExtAuthz(transport_api_version=V3)
    made.grpc_service.envoy_grpc.cluster_name = NOBODY
    return made


def config_of(provider: AuthzProvider, sight: Sight) -> pb.ExtAuthz:
    """A provider's server, and how it is asked."""
    cluster = cluster_of(provider, sight)
    timeout = Duration()
    timeout.FromNanoseconds(round(provider.timeout * 1e9))
    made = pb.ExtAuthz(
        transport_api_version=V3,
        failure_mode_allow=provider.fail_open,
        clear_route_cache=provider.reroute,
    )
    made.status_on_error.code = provider.status
    if provider.body is not None:
        made.with_request_body.max_request_bytes = provider.body.limit
        made.with_request_body.allow_partial_message = provider.body.partial
        made.with_request_body.pack_as_bytes = provider.body.as_bytes
    if not provider.http:
        made.grpc_service.envoy_grpc.cluster_name = cluster
        made.grpc_service.timeout.CopyFrom(timeout)
        return made
    server = made.http_service
    server.server_uri.uri = f"http://{provider.service.rpartition('/')[2]}"
    server.server_uri.cluster = cluster
    server.server_uri.timeout.CopyFrom(timeout)
    server.path_prefix = provider.prefix
    if provider.headers:
        made.allowed_headers.CopyFrom(patterns(provider.headers))
    for key, value in provider.add:
        server.authorization_request.headers_to_add.append(HeaderValue(key=key, value=value))
    response = server.authorization_response
    for names, target in (
        (provider.upstream, response.allowed_upstream_headers),
        (provider.on_deny, response.allowed_client_headers),
        (provider.on_allow, response.allowed_client_headers_on_success),
    ):
        if names:
            target.CopyFrom(patterns(names))
    return made


def patterns(names: tuple[str, ...]) -> ListStringMatcher:
    """Names of headers, with a * before or after that stands for anything."""
    made = ListStringMatcher()
    for name in names:
        match = StringMatcher(ignore_case=True)
        if name == "*":
            match.safe_regex.regex = ".+"
        elif name.startswith("*"):
            match.suffix = name[1:]
        elif name.endswith("*"):
            match.prefix = name[:-1]
        else:
            match.exact = name
        made.patterns.append(match)
    return made


def cluster_of(provider: AuthzProvider, sight: Sight) -> str:
    """Where a provider is; NOBODY, with an error, where it can't be asked."""
    namespace, _, host = provider.service.rpartition("/")
    found = sight.frontends.find(host, namespace)
    port = found.port(provider.port) if found is not None else None
    wrong = ""
    if found is None or (namespace and found.namespace != namespace):
        wrong = f"there is no service {provider.service}"
    elif port is None:
        wrong = f"{found} has no port {provider.port}"
    elif not provider.http and app_protocol(port) not in {
        workload_pb2.GRPC,
        workload_pb2.HTTP2,
    }:
        wrong = f"port {provider.port} of {found} doesn't say that it speaks gRPC: name it grpc"
    elif provider.http and not speaks(port, HTTP):
        wrong = f"port {provider.port} of {found} doesn't say that it speaks HTTP: name it http"
    if not wrong:
        return cluster_name(provider.port, host)
    sight.problems.append(provider.origin.error(provider.path, f"{wrong}: nobody is let in"))
    return NOBODY
