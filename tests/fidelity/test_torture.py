"""Every XGBoost and CatBoost model, through every backend that claims it: the framework's own answers, or a refusal.

The oracle is judged first: what our runner of the framework says of the training rows is what the framework's public
API says of them. Then each artifact by the gate, leaf by leaf, on adversarial rows and on those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models.gate import Gate, gate
from models.torture import ALL, CASES

from millwork.compile.backends import table as backends
from millwork.compile.runners.load import runner
from millwork.errors import ModelError
from millwork.passes.program import run

REFUSED = {
    ("fil", "xgboost: gblinear"): "no trees",
    ("fil", "xgboost: gblinear, multiclass"): "no trees",
    ("fil", "xgboost: zero trees"): "no trees",
    ("native", "xgboost: gblinear"): "no trees",
    ("native", "xgboost: gblinear, multiclass"): "no trees",
    ("tensor", "xgboost: gblinear"): "no trees",
    ("tensor", "xgboost: gblinear, multiclass"): "no trees",
    ("tensor", "xgboost: zero trees"): "no trees",
}
"""What a backend can't express, and a word of why. Whatever isn't here must be right."""

UNORDERED = ("gblinear", "dart")
"""A linear model's sums ONNX Runtime adds in an order of its own. XGBoost's two ways of predicting with dart differ
from each other in the last bit."""


@pytest.mark.parametrize("name", ALL)
def test_the_framework_or_a_refusal(name: str, tmp_path: Path) -> None:
    case = ALL[name](tmp_path)
    judged = gate(case.model, tmp_path / "gate", data=case.data, limit=1500)
    _oracle_is_the_public_api(judged, case.expected)
    _interpreter_agrees(judged)
    for backend in backends.ON_CPU:
        folder = tmp_path / backend
        reply = judged.build(backend, folder)
        if (backend, name) in REFUSED:
            assert REFUSED[backend, name] in reply.unsupported
            continue
        assert reply.artifact is not None, reply.unsupported
        verdict = judged.check(reply.artifact, folder)
        assert verdict.passed, f"{backend}: {verdict.reason}"
        assert verdict.parity.leaf_mismatches == 0


def _oracle_is_the_public_api(judged: Gate, expected: np.ndarray) -> None:
    own = judged.answers[-len(expected) :]
    assert own.shape == expected.shape
    np.testing.assert_allclose(own, expected, rtol=2e-7, atol=0)


def _interpreter_agrees(judged: Gate) -> None:
    """The IR by its definition; its transforms are numpy's, so all but the last bits."""
    given = judged.given
    finite = ~np.isinf(given.numbers).any(axis=1)
    got = run(judged.program, given.numbers, given.categories)
    np.testing.assert_allclose(got[finite], judged.answers[finite], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_margins_to_the_last_bit(name: str, tmp_path: Path) -> None:
    """``onnx`` and ``native`` add the leaves of a row in the framework's order, from the same first number."""
    case = ALL[name](tmp_path)
    judged = gate(case.model, tmp_path / "gate", data=case.data, limit=300, margin=True)
    for backend in ("reference", "onnx", "native"):
        if backend != "reference" and any(word in name for word in UNORDERED):
            continue
        folder = tmp_path / backend
        built = judged.build(backend, folder).artifact
        assert built is not None
        got = runner(built.runner)(folder / built.model_file, built.parameters, 1).predict(*judged.given.parts)
        assert got.tobytes() == judged.answers.tobytes()


LABELLED = {
    "xgboost: binary:logistic": 2,
    "xgboost: multi:softprob": 3,
    "xgboost: multilabel": 2,
    "catboost: threshold and class names": 2,
    "catboost: MultiClass": 4,
    "catboost: CTRs": 2,
}


@pytest.mark.parametrize("name", LABELLED)
def test_labels_where_they_are_asked_for(name: str, tmp_path: Path) -> None:
    case = CASES[name](tmp_path)
    judged = gate(case.model, tmp_path / "gate", data=case.data, limit=500, decided=True)
    output = judged.signature.output
    cut = 0.25 if "threshold" in name else 0.5
    if output.task == "multilabel":
        wanted = (case.expected > cut).astype(np.float32)
    elif output.task == "multiclass":
        wanted = case.expected.argmax(axis=1)[:, None].astype(np.float32)
    else:
        wanted = (case.expected[:, 1:] > cut).astype(np.float32)
    np.testing.assert_array_equal(judged.answers[-len(wanted) :], wanted)
    assert len(np.unique(wanted)) == LABELLED[name]
    if "class names" in name:
        assert output.classes == ("no", "yes")
    for backend in backends.ON_CPU:
        reply = judged.build(backend, tmp_path / backend)
        assert reply.artifact is not None, reply.unsupported
        verdict = judged.check(reply.artifact, tmp_path / backend)
        assert verdict.passed, f"{backend}: {verdict.reason}"


def test_a_regression_has_no_labels(tmp_path: Path) -> None:
    case = CASES["xgboost: reg:squarederror"](tmp_path)
    with pytest.raises(ModelError, match="--output label"):
        gate(case.model, tmp_path / "gate", decided=True)
