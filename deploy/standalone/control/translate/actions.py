"""What becomes of a request that matched, in Envoy's words."""

from __future__ import annotations

import re
from typing import Any

from envoy.config.core.v3 import base_pb2 as core
from envoy.config.route.v3 import route_components_pb2 as envoy
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSessionPerRoute,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import (
    PreviousHostsPredicate,
)
from envoy.extensions.retry.priority.previous_priorities.v3.previous_priorities_config_pb2 import (  # noqa: E501
    PreviousPrioritiesConfig,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.duration_pb2 import Duration

from deploy.standalone.control.routing import (
    NO_EDITS,
    Cors,
    Edits,
    HeaderEdits,
    PathEdit,
    PathEditKind,
    Persistence,
    Redirect,
    Retry,
    RouteMatch,
)
from deploy.standalone.control.trafficapi import Hashing
from deploy.standalone.control.translate.attached import AttachedRule, Share
from deploy.standalone.control.translate.matching import string_matcher

CORS_FILTER = "envoy.filters.http.cors"
SESSION_FILTER = "envoy.filters.http.stateful_session"
#: What Envoy's sessions have no word for, in a route's metadata.
SESSION_METADATA = "tandem.io/session"
PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
PREVIOUS_PRIORITIES = "envoy.retry_priorities.previous_priorities"
#: Istio's: so often a retry looks for a host that wasn't tried.
HOST_SELECTIONS = 5
#: Envoy's back-off grows up to so many times its base.
BACKOFF_GROWTH = 10
OVERWRITE = core.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
APPEND = core.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
CODES = {
    301: envoy.RedirectAction.MOVED_PERMANENTLY,
    302: envoy.RedirectAction.FOUND,
    303: envoy.RedirectAction.SEE_OTHER,
    307: envoy.RedirectAction.TEMPORARY_REDIRECT,
    308: envoy.RedirectAction.PERMANENT_REDIRECT,
}
DEFAULT_PORTS = {"http": 80, "https": 443}


def route_action(attached: AttachedRule, match: RouteMatch, *, fails_as_500: bool) -> Any:
    """Where the requests go, and for how long at most. No timeout is written as 0.

    fails_as_500: the share of a backend that can't be used, as the Gateway API has it.
    A gRPC client's own deadline holds as long as it is within the route's (istiod).
    """
    rule = attached.rule
    shares = [share for share in attached.shares if share.weight]
    action = envoy.RouteAction(
        timeout=duration(rule.timeout), max_grpc_timeout=duration(rule.timeout)
    )
    if fails_as_500 and not all(share.valid for share in shares):
        action.cluster_not_found_response_code = envoy.RouteAction.INTERNAL_SERVER_ERROR
    if len(shares) == 1 and shares[0].edits == NO_EDITS:
        action.cluster = shares[0].cluster
        authority = shares[0].authority or rule.authority
    else:
        authority = rule.authority
        for share in shares:
            action.weighted_clusters.clusters.append(weighted(share))
    if authority:
        action.host_rewrite_literal = authority
    if rule.path is not None:
        rewrite(action, rule.path, match)
    action.upgrade_configs.add(upgrade_type="websocket")
    retry = retry_policy(rule.retry, rule.try_timeout)
    if retry is not None:
        action.retry_policy.CopyFrom(retry)
    for cluster, part in attached.mirrors:
        mirror = action.request_mirror_policies.add(cluster=cluster)
        mirror.runtime_fraction.default_value.CopyFrom(
            FractionalPercent(numerator=part, denominator=FractionalPercent.MILLION)
        )
    for hashing in dict.fromkeys(share.hashing for share in shares if share.hashing):
        action.hash_policy.append(hash_policy(hashing))
    return action


def weighted(share: Share) -> Any:
    """One of several clusters, with what only its requests undergo."""
    message = envoy.WeightedCluster.ClusterWeight(name=share.cluster)
    message.weight.value = share.weight
    if share.authority:
        message.host_rewrite_literal = share.authority
    add_edits(message, share.edits)
    return message


def add_edits(message: Any, edits: Edits) -> None:
    """Write edits into a Route or a ClusterWeight."""
    for part, name in ((edits.request, "request"), (edits.response, "response")):
        added = getattr(message, f"{name}_headers_to_add")
        added.extend(header_options(part))
        getattr(message, f"{name}_headers_to_remove").extend(
            removed.lower() for removed in part.removed
        )


def header_options(edits: HeaderEdits) -> list[Any]:
    """Headers to replace and to add."""
    return [
        core.HeaderValueOption(
            header=core.HeaderValue(key=key, value=value), append_action=action
        )
        for pairs, action in ((edits.replaced, OVERWRITE), (edits.added, APPEND))
        for key, value in pairs
    ]


def rewrite(message: Any, path: PathEdit, match: RouteMatch) -> None:
    """Write a path's change into a RouteAction or RedirectAction.

    A prefix that is replaced by nothing must leave one slash, which only a pattern does.
    """
    match path.kind:
        case PathEditKind.FULL:
            substitute(message, "^.*$", path.value.replace("\\", "\\\\"))
        case PathEditKind.REGEX:
            substitute(message, path.pattern, path.value)
        case PathEditKind.PREFIX:
            message.prefix_rewrite = path.value
        case PathEditKind.SEGMENTS:
            matched, value = match.path.value.rstrip("/"), path.value.rstrip("/")
            if value and matched:
                message.prefix_rewrite = value
            elif matched:
                substitute(message, f"^{re.escape(matched)}/*", "/")
            else:
                message.prefix_rewrite = f"{value}/"


def substitute(message: Any, pattern: str, value: str) -> None:
    """A regular expression's change of a path; groups are named as RE2 does."""
    message.regex_rewrite.CopyFrom(
        RegexMatchAndSubstitute(pattern=RegexMatcher(regex=pattern), substitution=value)
    )


def redirect_action(redirect: Redirect, match: RouteMatch, port: int) -> Any:
    """A redirect. port: that was asked, which Envoy can't know; a default isn't written."""
    message = envoy.RedirectAction(response_code=CODES[redirect.status])
    if redirect.scheme:
        message.scheme_redirect = redirect.scheme
    if redirect.host:
        message.host_redirect = redirect.host
    wanted = port if redirect.from_request else redirect.port
    if wanted and wanted != DEFAULT_PORTS[redirect.scheme or "http"]:
        message.port_redirect = wanted
    path = redirect.path
    if path is not None and path.kind is PathEditKind.FULL:
        message.path_redirect = path.value
    elif path is not None:
        rewrite(message, path, match)
    return message


def retry_policy(retry: Retry, try_timeout: float) -> Any | None:
    """A retry policy; None when nothing is repeated and no try is bounded."""
    if not retry.attempts and not try_timeout:
        return None
    message = envoy.RetryPolicy(retry_on=",".join(retry.on) if retry.attempts else "")
    message.num_retries.value = retry.attempts
    if try_timeout:
        message.per_try_timeout.CopyFrom(duration(try_timeout))
    message.retriable_status_codes.extend(retry.statuses)
    if retry.backoff:
        message.retry_back_off.base_interval.CopyFrom(duration(retry.backoff))
        message.retry_back_off.max_interval.CopyFrom(duration(retry.backoff * BACKOFF_GROWTH))
    if retry.attempts and retry.avoid_previous:
        predicate = message.retry_host_predicate.add(name=PREVIOUS_HOSTS)
        predicate.typed_config.Pack(PreviousHostsPredicate())
        message.host_selection_retry_max_attempts = HOST_SELECTIONS
    if retry.remote:
        message.retry_priority.name = PREVIOUS_PRIORITIES
        message.retry_priority.typed_config.Pack(PreviousPrioritiesConfig(update_frequency=2))
    return message


def cors_policy(cors: Cors) -> Any:
    """Cross-origin rules, as the filter's own message."""
    message = CorsPolicy(
        allow_origin_string_match=[string_matcher(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.exposed),
    )
    if cors.max_age is not None:
        message.max_age = str(int(cors.max_age))
    if cors.credentials is not None:
        message.allow_credentials.value = cors.credentials
    if cors.forward_unmatched is not None:
        message.forward_not_matching_preflights.value = cors.forward_unmatched
    return message


def hash_policy(hashing: Hashing) -> Any:
    """What of a request decides where it goes."""
    message = envoy.RouteAction.HashPolicy()
    match hashing.kind:
        case "header":
            message.header.header_name = hashing.name
        case "query":
            message.query_parameter.name = hashing.name
        case "cookie":
            message.cookie.name = hashing.name
            message.cookie.path = hashing.path
            if hashing.lifetime is not None:
                message.cookie.ttl.CopyFrom(duration(hashing.lifetime))
        case _:
            message.connection_properties.source_ip = True
    return message


def duration(seconds: float) -> Duration:
    """Seconds as protobuf has them, by the millisecond."""
    message = Duration()
    message.FromMilliseconds(round(seconds * 1000))
    return message


def session(persistence: Persistence, route: str) -> Any:
    """What keeps a route's clients with their endpoints; route: its name."""
    name = persistence.name or f"tandem-{route}"
    message = StatefulSessionPerRoute()
    state = message.stateful_session.session_state
    if persistence.header:
        state.name = "envoy.http.stateful_session.header"
        state.typed_config.Pack(HeaderBasedSessionState(name=name))
        return message
    kept = CookieBasedSessionState()
    kept.cookie.name = name
    kept.cookie.path = "/"
    if persistence.lifetime:
        kept.cookie.ttl.CopyFrom(duration(persistence.lifetime))
    state.name = "envoy.http.stateful_session.cookie"
    state.typed_config.Pack(kept)
    return message
