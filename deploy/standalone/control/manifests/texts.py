"""Checks of texts that HTTP has rules for: names, values, expressions, hosts."""

from __future__ import annotations

import re

import re2

from deploy.standalone.control.manifests.fields import Fields

#: The waypoint's bound on one compiled expression, in bytes.
REGEX_MEMORY = 1 << 20
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_|~`]{1,256}")
HOST = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")
#: What ends a header's value, or a message (RFC 9110, section 5.5).
NOT_IN_VALUES = ("\r", "\n", "\0")


def check_regex(fields: Fields, pattern: str, name: str = "value") -> None:
    """Report what RE2 can't compile: it is what matches, in linear time."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        cause = error.args[0] if error.args else "invalid"
        text = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else str(cause)
        fields.wrong(name, f"{pattern!r} is no RE2 regular expression: {text}")


def check_header(fields: Fields, name: str, key: str, value: str = "") -> None:
    """Report a header that can't be sent; name: the field to report it at."""
    if key and not TOKEN.fullmatch(key):
        fields.wrong(name, f"{key!r} is no name of a header")
    if any(part in value for part in NOT_IN_VALUES):
        fields.wrong(name, f"{value!r} is no value of a header: it has a line break")


def check_host(fields: Fields, name: str, host: str) -> None:
    """Report what can't be a host's name."""
    if host and not HOST.fullmatch(host):
        fields.wrong(name, f"{host!r} is no host name")
