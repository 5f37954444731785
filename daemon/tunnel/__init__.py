"""HBONE: TCP between enrolled pods of different nodes, in HTTP/2 over mutual TLS.

connection  an HBONE connection (``ztunnel_compat/session``) on TLS; back-pressure
secured     TLS on a socket; poller: the epoll that serves it and the applications' sockets
relay       an application's plain connection, joined to a stream
sockets     made and accepted in pods' network namespaces
outbound    from a pod here to another node: 15001 on its loopback; routes: where to
pool, dial  which connection between the nodes a stream gets, and making one
inbound     from another node to a pod here: 15008 on its addresses
client      a connection of another node's, and what is known of who made it
destination what a CONNECT leads to there; authorize: who may, before and after a push
listeners   the listening sockets of a pod; handover: to the next node agent
places      where they are: pods' namespaces, and the one that cgroups share
server      both directions for all pods of the node, from enrolment to its end
bounds      what clients may cost, and why they weren't served
report      metrics and access log of one tunnelled connection
families    what is open and what was refused, as metrics and for the admin page
errors      why there is none

tunnel      one CONNECT stream, and the plain connection that it is joined to
authority   what a CONNECT asks for, ``address:port``
identity    whom a certificate is of; the source of a tunnel, proven
"""
