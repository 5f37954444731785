"""Who calls port 15012, and what it may have.

token       a signed statement of the control API: a service account, its pod, its node
caller      a client whose token was found good, and to come from its own address
place       the addresses that a token is good at: its node's, or its pod's
impersonation  the agent of a node asks for certificates in its pods' names

tokens mint and verify · places where a token is good · impersonation who may be
named · nodeid what an ADS client says of itself · refusals counted and logged ·
desk hands tokens out · guard the gRPC side
"""
