"""The waypoint: HTTP policy and balancing, in asyncio callbacks.

Arrival     a connection before it is known who makes it and what for
Undecided   one whose first bytes decide who serves it
Target      a port that this waypoint serves: protocol, routes, clusters
Downstream  a client's HTTP/1.1 connection; http2.downstream: by HTTP/2
Relay       a connection that carries other bytes
Plan        what happens to a request, decided once and remembered by its head
Siblings    requests that differ in their path alone: plans are made of each other's
Way         a request on its way to a cluster, as either protocol writes it
Exchange    one request and its response, with its retries and its log line;
            it joins a client's side to an endpoint's (ends), in any two protocols;
            dispatch finds it an endpoint, attempts another try, settling gives back
Cluster     what routes name: endpoints that follow the mesh's state, and settings
Endpoint    an address and port with its connections
Member      an endpoint as its cluster has it: weight, priority, health
Balance     who of a cluster's members gets the next request
Upstream    an HTTP/1.1 connection to an endpoint; http2.upstream: by HTTP/2
Worker      what all connections of the process share
Filter      what may refuse, hold or change a request before it is routed (filters/)
Pressure    whether this process holds too much, and what it does then (overload)
Recorder    counts requests and connections, for Prometheus (metrics/)

Pure, without I/O: layers/ (HTTP messages), http2.heads, decode/ and decode_cluster/
(Envoy's configuration in), routing/ (decisions), balancing/ (who is chosen), resilience/
(what is done about failures), balance, cluster, clusters, member, streams, targets,
tunnelled, plan, siblings, handshake, access_log, ids, timers. Driven by server, detection,
downstream, upstream, http2/ and tcp, active health checks by health_driver; hbone/ stands
for the mesh's L4 engine where there is none. Put together in app.
"""
