"""HBONE connections, for whoever carries their bytes: the node agent, the waypoint.

session   one connection, without I/O: HTTP/2, keep-alive, drain, and how it ends
sides     what a connection asks of those around it
settings  what it announces, and its times
pool      connections that wait to be used again
"""
