"""Objects and statuses to the resources of the xDS stream: pure functions.

workload   a pod as L4 engines and waypoints see it (Address.workload)
service    a Service, with its routes for waypoints only (Address.service)
entries    hosts of ServiceEntries, and workloads that no pod is, as Addresses
policy     an AuthorizationPolicy's part that L4 can enforce (Authorization)
l4         options that Istio's messages have no field for, as an extension
frontend   a service or a host: what requests are for, and what they go to
route      one match of one rule, in its order of precedence
group      the rules that hold together, for everyone or for some namespaces
chain      where connections without requests go, by the name of a TLS server
cluster    how a port of a service, or a subset of it, is reached
share      a backend that gets a part of a rule's requests, or can't
maker      makes one sort of filter for services' ports, of all objects that ask for it
sight      what makers look at, and where they say what is wrong
targeted   the services and Gateways that an object's targetRefs mean
held       by service, the AuthorizationPolicies that are attached to it
manager    a port's filters in their order, with what is done to requests before them
"""
