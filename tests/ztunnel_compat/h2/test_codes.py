from __future__ import annotations

from ztunnel_compat.h2.codes import ErrorCode, code_of


def test_numbers_that_nobody_knows_stand_for_an_internal_error():
    assert code_of(8) is ErrorCode.CANCEL
    assert code_of(868142534) is ErrorCode.INTERNAL_ERROR
