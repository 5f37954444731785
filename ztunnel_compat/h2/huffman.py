"""HPACK's Huffman code (RFC 7541 section 5.2, appendix B), decoded two bytes at a time.

The code is canonical: lengths alone determine it. The decoder is an automaton over whole
bytes, and pairs of them, whose steps are found when first needed: full tables would take
65,536 steps and as many times 256, of which text uses a few thousand.
"""

from __future__ import annotations

from struct import unpack_from

EOS = 256

#: Code length of each symbol, the last being EOS.
LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
    "1e"
)


class HuffmanError(ValueError):
    """A string that the code doesn't produce."""


def codes() -> list[tuple[int, int, int]]:
    """(symbol, code, length) of every symbol, in the order of the canonical code."""
    found = []
    code = 0
    previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(LENGTHS)):
        code <<= length - previous
        previous = length
        found.append((symbol, code, length))
        code += 1
    return found


def tree() -> list[list[int]]:
    """Inner nodes as [next for 0, for 1]: a node's number, or -1 - symbol; 0 is the root."""
    nodes: list[list[int]] = [[0, 0]]
    for symbol, code, length in codes():
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[node][bit]:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = -1 - symbol
    return nodes


NODES = tree()


def endings() -> frozenset[int]:
    """The nodes at which a string may end: up to 7 one-bits after a symbol."""
    node = 0
    found = {0}
    for _ in range(7):
        node = NODES[node][1]
        found.add(node)
    return frozenset(found)


ENDINGS = endings()
#: node << 8 | byte → the next node and what was decoded; at most 65,536 of them.
STEPS: dict[int, tuple[int, bytes]] = {}
#: node << 16 | two bytes → the next node << 16 and what was decoded. There could be sixteen
#: million: what comes once there are so many takes two steps each time.
STRIDES: dict[int, tuple[int, bytes]] = {}
MOST_STRIDES = 1 << 15


def find_step(key: int) -> tuple[int, bytes]:
    """Walk one byte from a node and remember where it led; raises HuffmanError at EOS."""
    node = key >> 8
    decoded = bytearray()
    for shift in range(7, -1, -1):
        node = NODES[node][key >> shift & 1]
        if node < 0:
            if node == -1 - EOS:
                raise HuffmanError("the end-of-string symbol inside a string")
            decoded.append(-1 - node)
            node = 0
    step = STEPS[key] = (node, bytes(decoded))
    return step


def step(node: int, byte: int) -> tuple[int, bytes]:
    """Where a byte leads from a node; raises HuffmanError at EOS."""
    key = node << 8 | byte
    return STEPS.get(key) or find_step(key)


def find_stride(key: int) -> tuple[int, bytes]:
    """Take two steps and remember where they led; raises HuffmanError at EOS."""
    node, first = step(key >> 16, key >> 8 & 0xFF)
    node, second = step(node, key & 0xFF)
    stride = node << 16, first + second
    if len(STRIDES) < MOST_STRIDES:
        STRIDES[key] = stride
    return stride


def decode(data: bytes) -> bytes:
    """The string that was coded; raises HuffmanError for a wrong end."""
    node = 0
    parts = []
    strides = STRIDES
    for word in unpack_from(f">{len(data) >> 1}H", data):
        try:
            node, part = strides[node | word]
        except KeyError:
            node, part = find_stride(node | word)
        parts.append(part)
    node >>= 16
    if len(data) & 1:
        node, part = step(node, data[-1])
        parts.append(part)
    if node not in ENDINGS:
        raise HuffmanError("a string ends inside a symbol")
    return b"".join(parts)
