"""What the gate says of a candidate: equal only where it is meant to be."""

from __future__ import annotations

from models import records

from millwork.pipeline.check_words import in_words
from millwork.validators.parity import Verdict
from millwork.validators.tolerance import Tolerance
from millwork.values import Parity

ALLOWED = Tolerance(abs=0.1, rel=0.0, why="")


def verdict(parity: Parity, *, passed: bool = True) -> Verdict:
    return Verdict(passed=passed, reason="" if passed else "wrong", parity=parity, allowed=ALLOWED)


def test_a_lowered_net_is_near_enough_and_not_equal() -> None:
    parity = records.parity(1 << 20, leaf_mismatches=None, max_abs=0.022, decision_flips=31)
    said = in_words("onnx-int8", verdict(parity), net=True)
    assert said == ("onnx-int8: near enough on 25,217 rows, answers within 0.022, 31 rows are decided differently")
    assert "NOT near enough" in in_words("onnx-int8", verdict(parity, passed=False), net=True)


def test_what_is_equal_says_by_how_much_its_answers_differ() -> None:
    said = in_words("onnx-fp32", verdict(records.parity()), net=False)
    assert said == "onnx-fp32: equal on 25,217 rows, 0 wrong leaves, answers within 1.2e-07"
    exact = in_words("reference-fp32", verdict(records.parity(0, max_abs=0.0)), net=False)
    assert exact.endswith("0 wrong leaves, no answer differs")
    wrong = records.parity(0, leaf_mismatches=3, max_abs=0.25)
    assert in_words("fil-fp32", verdict(wrong, passed=False), net=False) == (
        "fil-fp32: NOT equal on 25,217 rows, 3 wrong leaves, answers within 0.25"
    )
