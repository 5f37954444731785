from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from waypoint.balancing.locality import Distribute, LocalitySetting
from waypoint.balancing.policies import (
    LeastRequestPolicy,
    MaglevPolicy,
    Panic,
    Policy,
    RandomPolicy,
    RingHashPolicy,
    RoundRobinPolicy,
)
from waypoint.balancing.slow_start import SlowStart
from waypoint.cluster_settings import ClusterSettings, HttpSettings, Keepalive, Pings, Protocol
from waypoint.decode_cluster import decode_cluster
from waypoint.errors import RouteError
from waypoint.resilience.breakers import BreakerSettings, Thresholds
from waypoint.resilience.budget import RetryBudget
from waypoint.resilience.health import GrpcCheck, HealthCheck, HttpCheck, TcpCheck
from waypoint.resilience.outlier import OutlierSettings

HTTP_TYPE = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
LB = "type.googleapis.com/envoy.extensions.load_balancing_policies"


def decoded(**fields: Any) -> ClusterSettings:
    message = cluster_pb2.Cluster()
    json_format.ParseDict({"name": "outbound|80||a.b", **fields}, message)
    return decode_cluster(message.SerializeToString())


def refused(**fields: Any) -> str:
    with pytest.raises(RouteError) as caught:
        decoded(**fields)
    return str(caught.value)


def http(**fields: Any) -> dict[str, Any]:
    options = {"@type": HTTP_TYPE, **fields}
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"typedExtensionProtocolOptions": {name: options}}


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    config = {"name": "x", "typedConfig": {"@type": f"{LB}.{kind}", **fields}}
    return {"loadBalancingPolicy": {"policies": [{"typedExtensionConfig": config}]}}


ENVOY = Thresholds(1024, 1024, 1024, 3)
PLAIN = ClusterSettings(
    policy=RoundRobinPolicy(), breakers=BreakerSettings(ENVOY, ENVOY), connect_timeout=5.0
)


def test_a_cluster_that_says_nothing_has_envoys_defaults() -> None:
    assert decode_cluster(b"") == PLAIN
    deciding_nothing = {
        "type": "EDS",
        "edsClusterConfig": {"serviceName": "s"},
        "altStatName": "a",
        "ignoreHealthOnHostRemoval": True,
        "commonLbConfig": {"updateMergeWindow": "1s", "localityWeightedLbConfig": {}},
        "metadata": {"filterMetadata": {"istio": {"config": "x"}}},
    }
    assert decoded(**deciding_nothing) == PLAIN


SLOW = {"slowStartWindow": "60s"}


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({"lbPolicy": "ROUND_ROBIN"}, RoundRobinPolicy()),
        ({"roundRobinLbConfig": {"slowStartConfig": SLOW}}, RoundRobinPolicy(SlowStart(60))),
        ({"roundRobinLbConfig": {"slowStartConfig": {}}}, RoundRobinPolicy()),
        ({"lbPolicy": "LEAST_REQUEST"}, LeastRequestPolicy()),
        (
            {
                "lbPolicy": "LEAST_REQUEST",
                "leastRequestLbConfig": {
                    "choiceCount": 3,
                    "activeRequestBias": {"defaultValue": 0.5, "runtimeKey": "k"},
                    "slowStartConfig": {
                        **SLOW,
                        "aggression": {"defaultValue": 2, "runtimeKey": "k"},
                        "minWeightPercent": {"value": 30},
                    },
                },
            },
            LeastRequestPolicy(3, 0.5, False, SlowStart(60, 2, 30)),
        ),
        ({"lbPolicy": "RANDOM"}, RandomPolicy()),
        ({"lbPolicy": "RING_HASH"}, RingHashPolicy(1024, 8388608)),
        (
            {"lbPolicy": "RING_HASH", "ringHashLbConfig": {"hashFunction": "MURMUR_HASH_2"}},
            RingHashPolicy(murmur=True),
        ),
        (
            typed("ring_hash.v3.RingHash", hashFunction="MURMUR_HASH_2"),
            RingHashPolicy(murmur=True),
        ),
        (
            {
                "lbPolicy": "RING_HASH",
                "ringHashLbConfig": {"minimumRingSize": 5, "maximumRingSize": 50},
            },
            RingHashPolicy(5, 50),
        ),
        ({"lbPolicy": "MAGLEV"}, MaglevPolicy(65537)),
        ({"lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": 7}}, MaglevPolicy(7)),
        (
            typed("round_robin.v3.RoundRobin", slowStartConfig=SLOW),
            RoundRobinPolicy(SlowStart(60)),
        ),
        (
            typed(
                "least_request.v3.LeastRequest",
                choiceCount=4,
                selectionMethod="FULL_SCAN",
                localityLbConfig={"localityWeightedLbConfig": {}},
            ),
            LeastRequestPolicy(4, 1.0, True),
        ),
        (typed("random.v3.Random"), RandomPolicy()),
        (
            typed("ring_hash.v3.RingHash", hashFunction="XX_HASH", minimumRingSize=9),
            RingHashPolicy(9),
        ),
        (typed("maglev.v3.Maglev", tableSize=11), MaglevPolicy(11)),
        # load_balancing_policy goes before.
        ({"lbPolicy": "RANDOM", **typed("maglev.v3.Maglev")}, MaglevPolicy()),
    ],
)
def test_policies(fields: dict[str, Any], policy: Policy) -> None:
    assert decoded(**fields).policy == policy


@pytest.mark.parametrize(
    ("fields", "panic"),
    [
        ({}, Panic(50)),
        ({"healthyPanicThreshold": {}}, Panic(0)),
        ({"healthyPanicThreshold": {"value": 30}}, Panic(30)),
        ({"zoneAwareLbConfig": {"failTrafficOnPanic": True}}, Panic(50, True)),
    ],
)
def test_panic(fields: dict[str, Any], panic: Panic) -> None:
    assert decoded(commonLbConfig=fields).panic == panic


@pytest.mark.parametrize(
    ("said", "setting"),
    [
        ({}, LocalitySetting()),
        ({"enabled": True}, LocalitySetting()),
        ({"enabled": False, "failoverPriority": ["a"]}, None),
        ({"failoverPriority": ["a", "b=c"]}, LocalitySetting(failover_priority=("a", "b=c"))),
        (
            {"failover": [{"from": "r1", "to": "r2"}]},
            LocalitySetting(failover=(("r1", "r2"),)),
        ),
        (
            {"distribute": [{"from": "r1/*", "to": {"*": 5, "r1/*": 70, "r1/z1/*": 25}}]},
            LocalitySetting((Distribute("r1/*", (("r1/z1/*", 25), ("r1/*", 70), ("*", 5))),)),
        ),
    ],
)
def test_locality(said: dict[str, Any], setting: LocalitySetting | None) -> None:
    found = decoded(metadata={"filterMetadata": {"tandem.io/locality": said}})
    assert found.locality == setting


def test_subset() -> None:
    labels = {"version": "v1", "tier": "x"}
    found = decoded(metadata={"filterMetadata": {"tandem.io/subset": labels}})
    assert found.subset == labels


def test_outlier_detection() -> None:
    assert decoded(outlierDetection={}).outlier == OutlierSettings()
    assert decoded(outlierDetection={"baseEjectionTime": "400s"}).outlier == OutlierSettings(
        base_ejection_time=400, max_ejection_time=400
    )
    everything = {
        "consecutive5xx": 1,
        "interval": "2s",
        "baseEjectionTime": "3s",
        "maxEjectionPercent": 4,
        "enforcingConsecutive5xx": 5,
        "enforcingSuccessRate": 6,
        "successRateMinimumHosts": 7,
        "successRateRequestVolume": 8,
        "successRateStdevFactor": 9,
        "consecutiveGatewayFailure": 10,
        "enforcingConsecutiveGatewayFailure": 11,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailure": 12,
        "enforcingConsecutiveLocalOriginFailure": 13,
        "enforcingLocalOriginSuccessRate": 14,
        "failurePercentageThreshold": 15,
        "enforcingFailurePercentage": 16,
        "enforcingFailurePercentageLocalOrigin": 17,
        "failurePercentageMinimumHosts": 18,
        "failurePercentageRequestVolume": 19,
        "maxEjectionTime": "20s",
        "maxEjectionTimeJitter": "21s",
        "successfulActiveHealthCheckUnejectHost": False,
        "alwaysEjectOneHost": True,
    }
    assert decoded(outlierDetection=everything).outlier == OutlierSettings(
        1, 2, 3, 20, 21, 4, True, 5, 6, 7, 8, 9, 10, 11, True, 12, 13, 14, 15, 16, 17, 18, 19,
        False,
    )  # fmt: skip


MANY = {"maxConnections": 5, "maxPendingRequests": 6, "maxRequests": 7, "maxRetries": 8}


@pytest.mark.parametrize(
    ("entries", "settings"),
    [
        ([], BreakerSettings(ENVOY, ENVOY)),
        ([{}], BreakerSettings(ENVOY, ENVOY)),
        ([MANY], BreakerSettings(Thresholds(5, 6, 7, 8), ENVOY)),
        ([{"priority": "HIGH", **MANY}], BreakerSettings(ENVOY, Thresholds(5, 6, 7, 8))),
        ([MANY, {"maxRetries": 9}], BreakerSettings(Thresholds(5, 6, 7, 8), ENVOY)),
        (
            [{"trackRemaining": True, "retryBudget": {}}],
            BreakerSettings(Thresholds(1024, 1024, 1024, 3, RetryBudget(), True), ENVOY),
        ),
        (
            [{"retryBudget": {"budgetPercent": {"value": 5}, "minRetryConcurrency": 1}}],
            BreakerSettings(Thresholds(1024, 1024, 1024, 3, RetryBudget(5, 1)), ENVOY),
        ),
    ],
)
def test_breakers(entries: list[dict[str, Any]], settings: BreakerSettings) -> None:
    assert decoded(circuitBreakers={"thresholds": entries}).breakers == settings


TIMES: dict[str, Any] = {
    "timeout": "1s", "interval": "2s", "unhealthyThreshold": 3, "healthyThreshold": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"grpcHealthCheck": {}}, HealthCheck(GrpcCheck(), 1, 2, 3, 4)),
        (
            {
                "grpcHealthCheck": {
                    "serviceName": "s",
                    "authority": "a",
                    "initialMetadata": [{"header": {"key": "K", "value": "v"}}],
                }
            },
            HealthCheck(GrpcCheck("s", b"a", ((b"k", b"v"),)), 1, 2, 3, 4),
        ),
        ({"tcpHealthCheck": {}}, HealthCheck(TcpCheck(), 1, 2, 3, 4)),
        (
            {
                "tcpHealthCheck": {
                    "send": {"text": "50494e47"},
                    "receive": [{"text": "504f"}, {"binary": "TkcK"}],
                }
            },
            HealthCheck(TcpCheck(b"PING", (b"PO", b"NG\n")), 1, 2, 3, 4),
        ),
        ({"httpHealthCheck": {"path": "/h"}}, HealthCheck(HttpCheck(b"/h"), 1, 2, 3, 4)),
        (
            {"httpHealthCheck": {"path": "/h", "codecClientType": "HTTP2"}},
            HealthCheck(HttpCheck(b"/h", http2=True), 1, 2, 3, 4),
        ),
        (
            {
                "httpHealthCheck": {
                    "path": "/h?a=b",
                    "host": "x",
                    "method": "HEAD",
                    "requestHeadersToAdd": [{"header": {"key": "X-A", "value": "1"}}],
                    "expectedStatuses": [{"start": 200, "end": 300}],
                    "retriableStatuses": [{"start": 503, "end": 504}],
                },
                "initialJitter": "5s",
                "intervalJitter": "6s",
                "intervalJitterPercent": 7,
                "noTrafficInterval": "8s",
                "noTrafficHealthyInterval": "9s",
                "unhealthyInterval": "10s",
                "unhealthyEdgeInterval": "11s",
                "healthyEdgeInterval": "12s",
                "altPort": 13,
                "reuseConnection": True,
            },
            HealthCheck(
                HttpCheck(
                    b"/h?a=b", b"x", b"HEAD", ((b"x-a", b"1"),), ((200, 300),), ((503, 504),)
                ),
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
            ),
        ),
    ],
)  # fmt: skip
def test_health_checks(fields: dict[str, Any], check: HealthCheck) -> None:
    assert decoded(healthChecks=[{**TIMES, **fields}]).checks == (check,)


def test_several_health_checks() -> None:
    found = decoded(healthChecks=[{**TIMES, **GRPC}, {**TIMES, "tcpHealthCheck": {}}]).checks
    assert [type(each.check) for each in found] == [GrpcCheck, TcpCheck]


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, HttpSettings()),
        ({"maxRequestsPerConnection": 3}, HttpSettings(max_requests=3)),
        (http(commonHttpProtocolOptions={"idleTimeout": "3s"}), HttpSettings(idle_timeout=3)),
        (
            http(explicitHttpConfig={"httpProtocolOptions": {"enableTrailers": True}}),
            HttpSettings(Protocol.HTTP1),
        ),
        (
            http(explicitHttpConfig={"http2ProtocolOptions": {"maxConcurrentStreams": 7}}),
            HttpSettings(Protocol.HTTP2, streams=7),
        ),
        (
            http(
                useDownstreamProtocolConfig={
                    "httpProtocolOptions": {},
                    "http2ProtocolOptions": {
                        "initialStreamWindowSize": 65535,
                        "initialConnectionWindowSize": 1048576,
                        "allowConnect": True,
                        "connectionKeepalive": {"interval": "9s", "timeout": "2s"},
                    },
                },
                upstreamHttpProtocolOptions={"autoSni": True, "autoSanValidation": True},
                commonHttpProtocolOptions={
                    "idleTimeout": "30s",
                    "maxConnectionDuration": "40s",
                    "maxRequestsPerConnection": 9,
                },
            ),
            HttpSettings(
                Protocol.DOWNSTREAM, 9, 30, 40, stream_window=65535,
                connection_window=1048576, pings=Pings(9, 2),
            ),
        ),
        (
            {"maxRequestsPerConnection": 3, **http(explicitHttpConfig={})},
            HttpSettings(Protocol.HTTP1, max_requests=3),
        ),
    ],
)  # fmt: skip
def test_http(fields: dict[str, Any], settings: HttpSettings) -> None:
    assert decoded(**fields).http == settings


def test_connections() -> None:
    assert decoded(connectTimeout="2.5s").connect_timeout == 2.5
    options = {"tcpKeepalive": {"keepaliveProbes": 1, "keepaliveTime": 2}}
    assert decoded(upstreamConnectionOptions=options).keepalive == Keepalive(1, 2, None)
    assert decoded(upstreamConnectionOptions={"tcpKeepalive": {}}).keepalive == Keepalive()


GRPC: dict[str, Any] = {"grpcHealthCheck": {}}


def pinged(**fields: Any) -> dict[str, Any]:
    return http(explicitHttpConfig={"http2ProtocolOptions": {"connectionKeepalive": fields}})


def checks(**fields: Any) -> dict[str, Any]:
    return {"healthChecks": [{**TIMES, **GRPC, **fields}]}


def checked_by_http(**fields: Any) -> dict[str, Any]:
    return {"healthChecks": [{**TIMES, "httpHealthCheck": {"path": "/", **fields}}]}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"type": "STRICT_DNS"}, "type 1"),
        ({"transportSocket": {"name": "tls"}}, "transport_socket"),
        ({"filters": [{"name": "f"}]}, "filters"),
        ({"lbSubsetConfig": {"fallbackPolicy": 1}}, "lb_subset_config"),
        ({"lbPolicy": "CLUSTER_PROVIDED"}, "lb_policy 6"),
        ({"connectTimeout": "0s"}, "connect_timeout"),
        ({"connectTimeout": "-1s"}, "connect_timeout"),
        ({"lbPolicy": "RING_HASH",
          "ringHashLbConfig": {"minimumRingSize": 9, "maximumRingSize": 8}},
         "minimum_ring_size"),
        ({"lbPolicy": "RING_HASH", "ringHashLbConfig": {"maximumRingSize": 1 << 24}},
         "maximum_ring_size"),
        ({"lbPolicy": "MAGLEV", "maglevLbConfig": {"tableSize": 9}}, "table_size 9"),
        ({"lbPolicy": "LEAST_REQUEST", "leastRequestLbConfig": {"choiceCount": 1}},
         "choice_count"),
        ({"loadBalancingPolicy": {"policies": [
            {"typedExtensionConfig": {"name": "x", "typedConfig": {
                "@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}}}]}},
         "load_balancing_policy.policies: none of"),
        (typed("round_robin.v3.RoundRobin",
               localityLbConfig={"zoneAwareLbConfig": {"minClusterSize": 2}}),
         "zone_aware_lb_config"),
        (typed("ring_hash.v3.RingHash", hashFunction=7), "hash_function 7"),
        (typed("maglev.v3.Maglev", consistentHashingLbConfig={"hashBalanceFactor": 150}),
         "consistent_hashing_lb_config"),
        ({"commonLbConfig": {"zoneAwareLbConfig": {"minClusterSize": 3}}}, "min_cluster_size"),
        ({"commonLbConfig": {"healthyPanicThreshold": {"value": 101}}},
         "healthy_panic_threshold"),
        ({"commonLbConfig": {"overrideHostStatus": {"statuses": ["DRAINING"]}}},
         "override_host_status"),
        ({"metadata": {"filterMetadata": {"tandem.io/subset": {"a": 1}}}},
         "metadata[tandem.io/subset].a"),
        ({"metadata": {"filterMetadata": {"tandem.io/locality": {"zone": "x"}}}},
         "metadata[tandem.io/locality].zone"),
        ({"metadata": {"filterMetadata": {"tandem.io/locality": {"failover": [{}]}}}},
         "localityLbSetting"),
        ({"outlierDetection": {"monitors": [{"name": "m"}]}}, "outlier_detection.monitors"),
        ({"outlierDetection": {"interval": "0s"}}, "outlier_detection.interval"),
        ({"outlierDetection": {"maxEjectionPercent": 101}}, "max_ejection_percent"),
        ({"outlierDetection": {"maxEjectionTime": "1s"}}, "max_ejection_time"),
        ({"circuitBreakers": {"perHostThresholds": [{}]}}, "per_host_thresholds"),
        ({"circuitBreakers": {"thresholds": [{"maxConnectionPools": 3}]}},
         "circuit_breakers.thresholds[0].max_connection_pools"),
        (checks(timeout="0s"), "health_checks[0].timeout"),
        (checks(unhealthyThreshold=0), "unhealthy_threshold"),
        (checks(altPort=70000), "alt_port"),
        (checks(eventLogPath="/x"), "event_log_path"),
        ({"healthChecks": [{**TIMES, "customHealthCheck": {"name": "redis"}}]},
         "custom_health_check"),
        ({"healthChecks": [{**TIMES}]}, "health_checker is missing"),
        ({"healthChecks": [{**TIMES, **GRPC}] * 17}, "health_checks: 17"),
        ({"healthChecks": [{**TIMES, **GRPC}, {**TIMES}]},
         "health_checks[1].health_checker is missing"),
        (checked_by_http(path="x"), "path 'x'"),
        (checked_by_http(path="/a b"), "path '/a b'"),
        (checked_by_http(host="a\r\nb: c"), "line end"),
        (checked_by_http(codecClientType="HTTP3"), "codec_client_type"),
        (checked_by_http(method="CONNECT"), "method"),
        (checked_by_http(receive=[{"text": "00"}]), "receive"),
        (checked_by_http(expectedStatuses=[{"start": 300, "end": 200}]), "expected_statuses"),
        ({"healthChecks": [{**TIMES, "tcpHealthCheck": {"send": {"text": "xyz"}}}]},
         "tcp_health_check.send.text"),
        (http(autoConfig={}), "auto_config"),
        (http(explicitHttpConfig={"http3ProtocolOptions": {}}), "http3_protocol_options"),
        (http(explicitHttpConfig={"http2ProtocolOptions": {"hpackTableSize": 1}}),
         "hpack_table_size"),
        (http(explicitHttpConfig={"http2ProtocolOptions": {"maxConcurrentStreams": 0}}),
         "max_concurrent_streams"),
        (http(explicitHttpConfig={"http2ProtocolOptions": {"initialStreamWindowSize": 1}}),
         "initial_stream_window_size"),
        (http(explicitHttpConfig={}, commonHttpProtocolOptions={"maxHeadersCount": 1}),
         "common_http_protocol_options.max_headers_count"),
        (http(explicitHttpConfig={}, commonHttpProtocolOptions={"maxStreamDuration": "1s"}),
         "max_stream_duration"),
        (pinged(interval="1s"), "connection_keepalive.timeout is missing"),
        (pinged(timeout="1s", connectionIdleInterval="1s"), "connection_idle_interval"),
        ({"typedExtensionProtocolOptions": {"other": {"@type": HTTP_TYPE}}}, "other"),
        ({"upstreamConnectionOptions": {"tcpKeepalive": {"keepaliveTime": 0}}},
         "tcp_keepalive"),
        ({"upstreamConnectionOptions": {"setLocalInterfaceNameOnUpstreamConnections": True}},
         "set_local_interface_name"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_named(fields: dict[str, Any], named: str) -> None:
    assert named in refused(**fields)


def test_what_is_no_cluster() -> None:
    with pytest.raises(RouteError, match="not a Cluster"):
        decode_cluster(b"\xff\xff")
    with pytest.raises(RouteError, match="field number 999"):
        decode_cluster(b"\xb8\x3e\x01")
