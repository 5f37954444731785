"""The plug-in host: a process that runs filters for a waypoint's worker.

It is spoken to over the socket that it gets as standard input, in frames, which it
answers in their order, one after the other. Its own output goes nowhere: what filters
print is passed on with answers.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import socket
import sys

from tandem.host import sandbox
from tandem.host.frames import FrameReader, encode
from tandem.host.output import Output
from tandem.host.sessions import Sessions

#: Bytes that are taken from the socket at a time.
READ = 256 * 1024
#: The descriptor that the socket is moved to.
LINK = 3


def command(parent: int, memory: int) -> list[str]:
    """What to execute; parent, memory: see sandbox. The environment should be empty."""
    told = {"paths": [path for path in sys.path if path], "parent": parent, "memory": memory}
    start = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1])['paths']; "
        "from tandem.host.program import main; main(sys.argv[1])"
    )
    return [sys.executable, "-I", "-B", "-c", start, json.dumps(told)]


def main(text: str) -> None:
    """Give up what isn't needed, and serve until the worker is gone."""
    told = json.loads(text)
    # Whatever else was passed on by whoever started this: only the link stays.
    os.dup2(0, LINK, inheritable=False)
    os.closerange(LINK + 1, os.sysconf("SC_OPEN_MAX"))
    link = socket.socket(fileno=LINK)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    output = Output()
    sys.stdout = sys.stderr = output
    logging.basicConfig(
        stream=output, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        missing = sandbox.enter(told["parent"], told["memory"])
    except OSError as error:
        link.sendall(encode({"id": 0, "error": f"sandbox: {error}"}))
        return
    link.sendall(encode({"id": 0, "missing": missing}))
    gc.freeze()
    serve(link, Sessions(output))


def serve(link: socket.socket, sessions: Sessions) -> None:
    """Answer frames until there are no more."""
    reader = FrameReader()
    # Each answer is sent at once: what is behind it may be the last call of this process.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while data := link.recv(READ):
            for said, content in reader.feed(data):
                answer = sessions.handle(said, content)
                if answer is not None:
                    link.sendall(encode(*answer))
