"""A UDP server that answers each datagram with its own name and what came.

udp_echo.py PORT; ready when the TCP port of the same number answers.
"""

import os
import socket
import sys
import threading

NAME = os.environ.get("NAME", socket.gethostname())
PORT = int(sys.argv[1])


def probes(listener):
    while True:
        listener.accept()[0].close()


threading.Thread(
    target=probes, args=(socket.create_server(("0.0.0.0", PORT)),), daemon=True
).start()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", PORT))
    while True:
        data, client = server.recvfrom(65536)
        server.sendto(f"{NAME} {data.decode()}".encode(), client)
