"""Why nothing is taken from a sender for now: bits, of which several may be set."""

from __future__ import annotations

#: The endpoint isn't connected yet: the body's first part waits with us.
CONNECTING = 1
#: The endpoint takes the body more slowly than it comes.
UPSTREAM = 2
#: A filter takes its time, and needs no more of the body for that.
FILTERS = 16
#: Enough pipelined requests are waiting.
PIPELINED = 4
#: The client takes the response more slowly than it comes.
DOWNSTREAM = 8
