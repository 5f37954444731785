"""An issuer of tokens with a key of its own, made when it starts; nothing to be trusted.

GET /keys is its public key as a JSON Web Key Set; GET /token?sub=anna&groups=testers&for=600
is a token with these claims, good for so many seconds. ISSUER says who signs. Port 8080.
"""

import base64
import hashlib
import json
import os
import secrets
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

ISSUER = os.environ.get("ISSUER", "issuer")
EXPONENT = 65537
BYTES = 256
#: What stands before a SHA-256 digest in a signature (RFC 8017 section 9.2).
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")


def is_prime(number):
    """Whether a number is one, as good as surely (Miller-Rabin)."""
    if any(number % small == 0 for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(20):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def prime():
    """A prime of half of a key's length."""
    top = 3 << (BYTES * 4 - 2)
    while True:
        number = secrets.randbits(BYTES * 4) | top | 1
        if number % EXPONENT != 1 and is_prime(number):
            return number


P, Q = prime(), prime()
MODULUS = P * Q
PRIVATE = pow(EXPONENT, -1, (P - 1) * (Q - 1))


def encode(data):
    """Base64url, of JSON where it isn't bytes."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def keys():
    """The public key."""
    modulus = encode(MODULUS.to_bytes(BYTES, "big"))
    exponent = encode(EXPONENT.to_bytes(3, "big"))
    return {"keys": [{"kty": "RSA", "kid": "1", "alg": "RS256", "n": modulus, "e": exponent}]}


def token(claims):
    """A signed token."""
    signed = f"{encode({'alg': 'RS256', 'kid': '1'})}.{encode(claims)}"
    digest = SHA256 + hashlib.sha256(signed.encode()).digest()
    padded = b"\0\1" + b"\xff" * (BYTES - len(digest) - 3) + b"\0" + digest
    signature = pow(int.from_bytes(padded, "big"), PRIVATE, MODULUS)
    return f"{signed}.{encode(signature.to_bytes(BYTES, 'big'))}"


class Issuer(BaseHTTPRequestHandler):
    """Answers GET requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Give the key, or a token."""
        parts = urlsplit(self.path)
        asked = dict(parse_qsl(parts.query))
        if parts.path == "/token":
            ends = int(time.time()) + int(asked.pop("for", "600"))
            groups = asked.pop("groups", "").split()
            text = token({"iss": ISSUER, "exp": ends, "groups": groups, **asked})
        else:
            text = json.dumps(keys()) + "\n"
        body = text.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Listens on every IPv4 and IPv6 address."""

    address_family = socket.AF_INET6
    daemon_threads = True


Server(("::", 8080), Issuer).serve_forever()
