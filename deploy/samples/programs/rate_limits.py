"""A rate limit service (Envoy's, over gRPC): so many requests a minute for each descriptor.

LIMIT says how many. Port 8081. Needs grpcio.
"""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
from wire import field, fields

LIMIT = int(os.environ.get("LIMIT", "5"))
MINUTE = 60
OK, OVER_LIMIT = 1, 2
UNIT_MINUTE = 2
lock = threading.Lock()
counts = Counter()


def should_rate_limit(request, _context):
    """Count a request and answer what becomes of it."""
    now = time.time()
    window = int(now // MINUTE)
    domain = b"".join(value for number, value in fields(request) if number == 1)
    answers, overall = b"", OK
    with lock:
        for number, descriptor in fields(request):
            if number != 2:
                continue
            key = (domain, descriptor, window)
            counts[key] += 1
            code = OK if counts[key] <= LIMIT else OVER_LIMIT
            overall = max(overall, code)
            left = max(LIMIT - counts[key], 0)
            reset = MINUTE - int(now % MINUTE)
            limit = field(1, LIMIT) + field(2, UNIT_MINUTE)
            status = field(1, code) + field(2, limit) + field(3, left)
            answers += field(2, status + field(4, field(1, reset)))
        for key in [each for each in counts if each[2] < window]:
            del counts[key]
    return field(1, overall) + answers


server = grpc.server(ThreadPoolExecutor(8))
method = grpc.unary_unary_rpc_method_handler(should_rate_limit)
name = "envoy.service.ratelimit.v3.RateLimitService"
server.add_generic_rpc_handlers(
    [grpc.method_handlers_generic_handler(name, {"ShouldRateLimit": method})]
)
server.add_insecure_port("[::]:8081")
server.start()
server.wait_for_termination()
