"""Delta ADS (envoy.service.discovery.v3), as istiod serves it.

node     who a client says it is: role, address, pod
session  one client's state machine: requests in, responses out; no I/O
gate     holds answers back until the nodes have said what runs
order    holds back from nodes what waypoints have to hear first
server   the gRPC service that drives sessions (../server.py is the port)
"""
