"""Tables from a property's values to the rules that they satisfy, as bits.

A rule may have several conditions on one property, one of each of its matches: all
must hold. They are taken apart in layers with at most one condition of each rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ztunnel_compat.policy import Range

T = TypeVar("T", bound=Hashable)

ROOTS = (Range(bytes(4), 0), Range(bytes(16), 0))

#: For one match of a rule: the values of which one must hold, and of which none may.
Condition = tuple[Sequence[T], Sequence[T]]


@dataclass(slots=True)
class Layer(Generic[T]):
    """Rules by the values that they ask for or refuse; bound: those that ask for any."""

    within: dict[T, int] = field(default_factory=dict)
    outside: dict[T, int] = field(default_factory=dict)
    bound: int = 0


def layered(conditions: Sequence[Sequence[Condition[T]]]) -> list[Layer[T]]:
    """The first conditions of rules 0, 1, …, then their second ones, and so on."""
    layers: list[Layer[T]] = []
    for number, of_rule in enumerate(conditions):
        bit = 1 << number
        constraining = [condition for condition in of_rule if any(condition)]
        for depth, (within, outside) in enumerate(constraining):
            if depth == len(layers):
                layers.append(Layer())
            layer = layers[depth]
            layer.bound |= bit if within else 0
            for value in within:
                layer.within[value] = layer.within.get(value, 0) | bit
            for value in outside:
                layer.outside[value] = layer.outside.get(value, 0) | bit
    return layers


def values_of(layers: Iterable[Layer[T]]) -> set[T]:
    """All values that some rule names."""
    return {value for layer in layers for value in (*layer.within, *layer.outside)}


def satisfied(layers: Iterable[Layer[T]], holding: Sequence[T], used: int) -> int:
    """The rules that are satisfied where just these of the named values hold."""
    bits = used
    for layer in layers:
        within = used & ~layer.bound
        outside = 0
        for value in holding:
            within |= layer.within.get(value, 0)
            outside |= layer.outside.get(value, 0)
        bits &= within & ~outside
    return bits


def port_table(
    conditions: Sequence[Sequence[Condition[int]]], used: int
) -> tuple[Mapping[int, int] | None, int]:
    """The entries for ports that rules name (None: none does), and for all others."""
    layers = layered(conditions)
    table = {port: satisfied(layers, (port,), used) for port in sorted(values_of(layers))}
    return table or None, satisfied(layers, (), used)


def range_table(
    conditions: Sequence[Sequence[Condition[Range]]], used: int
) -> Mapping[Range, int] | None:
    """The entries for ranges, for tries of longest prefixes; None: no rule names any.

    Only the longest prefix of an address is found, so that its entry must hold what
    wider ranges satisfy too. IPv4 has a root of its own: ranges of IPv6 addresses
    that cover ::ffff:0:0/96 don't hold IPv4 addresses.
    """
    layers = layered(conditions)
    if not layers:
        return None
    nodes = values_of(layers) | set(ROOTS)
    lengths = {
        size: sorted({node.length for node in nodes if len(node.address) == size})
        for size in (4, 16)
    }
    return {
        node: satisfied(layers, list(around(node, lengths[len(node.address)])), used)
        for node in nodes
    }


def around(node: Range, lengths: Iterable[int]) -> Iterator[Range]:
    """The possible ranges that hold all of a node's addresses, itself included."""
    size = len(node.address)
    value = int.from_bytes(node.address)
    for length in lengths:
        if length <= node.length:
            rest = 8 * size - length
            yield Range((value >> rest << rest).to_bytes(size), length)
