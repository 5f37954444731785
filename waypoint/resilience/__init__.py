"""Resilience: what is done about hosts and requests that fail; pure decisions.

Attempt     one sending of a request to an endpoint; a retry is another
Failure     how an attempt ended without a response, or with one of no use
Unprocessed the endpoint provably never handled the request
Budget      how many retries may run at a time, over a cluster
Replay      the request's body, kept so that it can be sent again
Breaker     a bound on what a cluster may have at a time
Outlier     a host that fails more than others, and is left out for a while: ejected
Health      what an active check of our own says of a host

Times are seconds on a clock that its caller reads; random numbers are drawn by callers.
"""
