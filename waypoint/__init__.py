"""The waypoint: HTTP/1.1 policy and balancing, in asyncio callbacks.

Arrival     a connection before it is known who makes it and what for
Target      a port that this waypoint serves: protocol, routes, clusters
Downstream  a client's HTTP connection; Relay: one that carries other bytes
Plan        what happens to a request, decided once and remembered by its head
Exchange    one request and its response, with its retries and its log line
Cluster     what routes name: endpoints that follow the mesh's state
Endpoint    an address and port with its idle connections
Upstream    a connection to an endpoint
Worker      what all connections of the process share

Pure, without I/O: layers/ (HTTP messages), routing, routes, matching, balance,
clusters, targets, plan, access_log, ids, timers. Driven by server, downstream,
upstream and tcp; put together in app.
"""
