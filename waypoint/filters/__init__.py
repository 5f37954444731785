"""Filters: what may refuse, hold or change a request before it is routed.

Envoy's HTTP filters, in the order in which the target's configuration has them. What
isn't configured costs nothing: a plan without a gate goes straight to its route.

Chain        a target's filters, in order
Admission    what is done before them: paths normalised, client certificates told of
Kind         a sort of filter: how its messages are read (registry: all of them)
HeadFilter   decides by the request's head and who sent it; decided with the plan, and
             remembered with it
StepFilter   decides for each request: it may wait, count, draw, or read the body
Asked        what a filter sees; notes: what those before it found (dynamic metadata)
Verdict      Passed, Refusal, or (of a HeadFilter) Later; soundness: what none can do
Gate         where a plan's chain goes on at run time; Passage: one request's way there
Tap          what reads or changes a response, head and content, on its way back
Intake       what reads or changes a request's body, once the request has passed
Inquiry      a request of the waypoint's own, to a cluster: ext_authz, rate limits, keys
             (unary: a gRPC call); Room: how many a filter may ask at once
Descriptor   what a request counts as for rate limits, local and global ones
override     a route's or virtual host's own settings for a filter, by the filter's name
"""
