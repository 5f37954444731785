"""HTTP/2 at both ends of the waypoint, over ztunnel_compat.h2.

wire        a connection: reads, and one joined write per turn
heads       field sections as heads, and heads as field sections: pure
downstream  a client's connection; Request: a stream of it, one exchange
grpc        an exchange whose messages are counted
upstream    a connection to an endpoint, shared; Call: a stream of it
"""
