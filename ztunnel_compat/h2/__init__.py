"""HTTP/2 without I/O, both roles (RFC 9113, RFC 7541, RFC 8441): bytes in, calls and bytes out.

connection  what an owner holds: requests, responses, data; receive() and take_output()
handler     what the owner is told, from within those calls
receiver    the frame loop: DATA, straight from the bytes
blocks      header blocks: put together, decoded, given to their streams
control     the frames that carry no content: SETTINGS, PING, GOAWAY, RST_STREAM …
streams     Stream, the table of them, and the one way out of it
sender      send queues, shared fairly under the peer's flow control
inflow      our flow control: credit for what the owner passed on
output      what waits to be written, and how much of it the peer may cause
limits      how often a peer may send what costs it nothing
settings    ours, and the peer's
state       the parts of a connection, which the above share
memo        header blocks read before, checked once
fields      what a field section must be (RFC 9113 section 8)
section     field sections to be sent, which remember how they were coded
decoder     HPACK in        huffman  its string coding
encoder     HPACK out       static   its fixed table
literals    integers and literal fields, written
frames      frames as bytes
codes       the protocol's numbers
errors      what can go wrong, and whose fault it is
"""
