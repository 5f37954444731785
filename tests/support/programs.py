"""Programs that tests run in network namespaces."""

from __future__ import annotations

from typing import Final

#: Prints, for each name of its arguments, what the system's resolver makes of it, as JSON.
RESOLVE: Final = """
import json, socket, sys
found = {}
for name in sys.argv[1:]:
    try:
        answers = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
        found[name] = sorted({a[4][0] for a in answers})
    except socket.gaierror as error:
        found[name] = error.errno
print(json.dumps(found))
"""
