"""HTTP/1.1 without I/O: bytes in, records and bytes out.

sniff     what a connection's first bytes say of its protocol
http1     where a head ends in a stream of bytes
headers   header blocks and framing words
request   request heads as records
response  response heads as records
render    heads for the next hop, of messages that came otherwise
body      readers that pass a body on and find its end
memo      heads that were parsed before
"""
