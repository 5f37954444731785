"""Protobuf messages, field by field, for servers that have no generated code."""


def varint(number):
    """A number in protobuf's variable length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def field(number, value):
    """A field: an int, or text, bytes or a message's bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data):
    """A message's fields: numbers and values."""
    at = 0

    def read():
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = read()
        if tag & 7 == 0:
            yield tag >> 3, read()
            continue
        length = {1: 8, 5: 4}.get(tag & 7)
        length = read() if length is None else length
        yield tag >> 3, data[at : at + length]
        at += length


def find(data, *path):
    """The first value at a path of field numbers, or b""."""
    for number in path:
        data = next((value for found, value in fields(data) if found == number), b"")
    return data
