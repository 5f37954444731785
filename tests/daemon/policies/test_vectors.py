from __future__ import annotations

import random

from daemon.policies.vectors import layered, port_table, range_table, satisfied
from tests.ztunnel_compat.policies import RandomPolicies, cidr
from ztunnel_compat.policy import Range


def test_rules_without_conditions_need_no_table():
    assert port_table([[((), ())], []], 0b11) == (None, 0b11)
    assert range_table([[((), ())], []], 0b11) is None


def test_ports_that_no_rule_names_satisfy_what_does_not_ask():
    conditions = [[((80, 81), ())], [((), (80,))], [], [((80,), ()), ((), (80,))]]
    table, others = port_table(conditions, 0b1111)
    assert table == {80: 0b0101, 81: 0b0111}
    assert others == 0b0110


def test_conditions_of_one_rule_are_in_layers_of_their_own():
    layers = layered([[((1, 2), ()), ((2, 3), ())], [((1,), ())]])
    assert len(layers) == 2
    assert satisfied(layers, (2,), 0b11) == 0b01
    assert satisfied(layers, (1,), 0b11) == 0b10


def test_the_families_have_roots_of_their_own():
    table = range_table([[((cidr("::/0"),), ())], [((), (cidr("::ffff:0:0/80"),))]], 0b11)
    assert table is not None
    assert table[cidr("0.0.0.0/0")] == 0b10
    assert table[cidr("::/0")] == 0b11


def test_the_longest_prefix_holds_what_wider_ones_satisfy():
    wide, narrow = cidr("10.0.0.0/8"), cidr("10.1.0.0/16")
    table = range_table([[((wide,), ())], [((narrow,), ())], [((wide,), (narrow,))]], 0b111)
    assert table is not None
    assert table[wide] == 0b101
    assert table[narrow] == 0b011


def test_tables_say_of_each_address_what_its_ranges_do():
    """Generated conditions, looked up by longest prefix and one by one."""
    generator = random.Random(4)
    ranges = [cidr(text) for text in RandomPolicies.RANGES]
    addresses = [cidr(text).address for text in RandomPolicies.ADDRESSES]

    def some() -> tuple[Range, ...]:
        return tuple(generator.sample(ranges, generator.randrange(3)))

    for _ in range(200):
        conditions = [
            [(some(), some()) for _ in range(generator.randrange(3))] for _ in range(8)
        ]
        table = range_table(conditions, 0xFF)
        for address in addresses:
            expected = sum(
                1 << number
                for number, of_rule in enumerate(conditions)
                if all(
                    (not within or any(r.holds(address) for r in within))
                    and not any(r.holds(address) for r in outside)
                    for within, outside in of_rule
                )
            )
            if table is None:
                assert expected == 0xFF
            else:
                found = max((r for r in table if r.holds(address)), key=lambda r: r.length)
                assert table[found] == expected
