"""External authorization: a server says who may go on (Envoy's ext_authz).

ExtAuthz    the filter's settings; Override: a route's own
Check       what a request is judged by; Ruling: what the server said of it
wire        Check and Ruling as envoy.service.auth.v3 messages
http        Check and Ruling as an HTTP request and its response
verdict     what becomes of a request by a ruling: pure
"""
