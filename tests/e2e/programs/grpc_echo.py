"""A gRPC server: every unary method answers with JSON of its name and the metadata.

grpc_echo.py PORT
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

NAME = os.environ["NAME"]


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        def answer(_request, context):
            seen = {}
            for key, value in context.invocation_metadata():
                seen.setdefault(key, []).append(str(value))
            joined = {key: ",".join(values) for key, values in seen.items()}
            return json.dumps({"name": NAME, "metadata": joined}).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


server = grpc.server(ThreadPoolExecutor(4), handlers=[Echo()])
server.add_insecure_port(f"0.0.0.0:{sys.argv[1]}")
server.start()
server.wait_for_termination()
