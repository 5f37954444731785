"""HBONE with a certificate of the waypoint's own: where no L4 engine is in its place.

connection  an HBONE connection (``ztunnel_compat/session``) on an asyncio transport
transport   a stream of it, as an asyncio transport
asked       what a CONNECT is for, and who asks; pure
server      15008: from clients to what serves their target
pool        connections by whom they lead to
dial        from the waypoint to endpoints: by HBONE where they take it
setup       all of it for a process, with its certificate
errors      why there is no stream

stream      one CONNECT: a connection for everybody above
"""
