"""Objects and statuses to the resources of the xDS stream: pure functions.

workload   a pod as L4 engines and waypoints see it (Address.workload)
service    a Service, with its routes for waypoints only (Address.service)
entry      one match of one rule of one HTTPRoute, in its order of precedence
backend    a Service that gets a share of a rule's requests, or can't
"""
