"""Envoy's Cluster, from its bytes to a cluster's settings. Protobuf stops here.

Everything that a message sets is honoured or refused: a field that isn't listed where
it is decoded raises RouteError with its place and name. What is in no message has
Envoy's default, which is not always Istio's (circuit breakers: 1024).

decode_cluster  a Cluster (TYPE_URL) → ClusterSettings
"""

from waypoint.decode_cluster.cluster import TYPE_URL, decode_cluster

__all__ = ["TYPE_URL", "decode_cluster"]
