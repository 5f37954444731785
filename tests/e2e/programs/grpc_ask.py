"""Calls gRPC methods on one connection, and tells each answer on a line.

    grpc_ask.py PLACE JSON

JSON: [{"method", "metadata": [[name, value]…], "times"}…].
"""

import json
import sys

import grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    for wanted in json.loads(sys.argv[2]):
        call = channel.unary_unary(wanted["method"])
        metadata = [tuple(pair) for pair in wanted.get("metadata", ())]
        for _ in range(wanted.get("times", 1)):
            try:
                print(call(b"", metadata=metadata, timeout=10).decode())
            except grpc.RpcError as error:
                print(json.dumps({"name": "", "error": error.code().name}))
