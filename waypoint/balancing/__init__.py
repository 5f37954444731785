"""Load balancing: pure decisions over hosts, Envoy's semantics.

Host        what can be chosen: a name, a weight, how busy it is
Policy      how a cluster chooses: round robin, least request, random, a hash
Balancer    a policy at work over a fixed set of hosts; a new set, a new balancer
Drawn       a random number from [0, 1) that its caller drew: one for each choice
Attempt     0 for a choice, then 1, 2, … for another where that one won't do
Priority    hosts that are asked only while those of lower numbers don't suffice
Panic       so few hosts are healthy that health counts for nothing

A choice has two steps: which priority and locality (priorities, locality), then which
of its hosts (round_robin, least_request, random_choice, ring_hash, maglev).
slow_start makes weights grow with a host's age. What of a request is hashed is the
route's to say.
"""
