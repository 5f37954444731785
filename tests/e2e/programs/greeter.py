"""A server-first protocol: greets before the client says anything, then echoes.

greeter.py PORT
"""

import os
import socket
import sys
import threading

NAME = os.environ.get("NAME", socket.gethostname())


def serve(connection):
    with connection:
        connection.sendall(f"220 {NAME} ready\r\n".encode())
        while data := connection.recv(65536):
            connection.sendall(data)


with socket.create_server(
    ("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
