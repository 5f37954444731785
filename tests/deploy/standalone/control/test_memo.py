from __future__ import annotations

from deploy.standalone.control.memo import Memo, Same


def test_made_again_only_when_an_input_differs() -> None:
    memo, made = Memo(), []

    def ask(key: str, *inputs: object) -> int:
        return memo.get(key, inputs, lambda: made.append(key) or len(made))  # type: ignore[func-returns-value]

    assert (ask("a", 1), ask("a", 1)) == (1, 2), "within a round nothing is looked up"
    memo.end_round()
    assert ask("a", 1) == 2
    memo.end_round()
    assert ask("a", 2) == 3
    memo.end_round()
    memo.end_round()
    assert ask("a", 2) == 4, "a round that didn't ask forgets"


def test_same_is_identity() -> None:
    first, second = [1], [1]
    assert Same(first) == Same(first)
    assert Same(first) != Same(second)
