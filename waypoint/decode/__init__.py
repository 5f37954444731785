"""Envoy's configuration messages, from bytes to values that decisions are made of.

Everything that a message sets is honoured or refused: a field that isn't listed
where it is decoded raises RouteError with its place and name, so that nothing is
silently left out. Protobuf stops here.

decode_table  a RouteConfiguration (TYPE_URL) → RouteTable
"""

from waypoint.decode.table import TYPE_URL, decode_table

__all__ = ["TYPE_URL", "decode_table"]
