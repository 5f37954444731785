from __future__ import annotations

from tandem.host.output import LONGEST, MOST_LINES, Output


def test_lines_are_kept_and_the_rest_counted() -> None:
    output = Output()
    print("a", 1, file=output)
    print("no end", end="", file=output)
    assert output.take() == {"out": ["a 1", "no end"]}
    assert output.take() == {}
    for number in range(MOST_LINES + 5):
        print(number, "x" * 1000, file=output)
    taken = output.take()
    assert taken["dropped"] == 5
    assert len(taken["out"]) == MOST_LINES
    assert all(len(line) == LONGEST for line in taken["out"])


def test_a_line_without_end_costs_no_more_than_a_line() -> None:
    output = Output()
    for _ in range(1000):
        output.write("x" * 1000)
    assert len(output.begun) == LONGEST
