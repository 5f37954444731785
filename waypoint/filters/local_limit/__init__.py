"""Limits that this waypoint keeps by itself: token buckets (Envoy's local_ratelimit).

bucket     a bucket's arithmetic: its state is one number
table      buckets in shared memory, found by their names; bounded
locks      locks in shared memory that outlive who holds them
shared     the buckets that all workers of a waypoint have in common
settings   what is configured, and which buckets a request takes of
decode     from Envoy's messages
place      settings where they stand, with what is remembered of requests there
taking     one request's way through its buckets
filter     the filter
"""
