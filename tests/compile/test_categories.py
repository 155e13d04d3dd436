"""Tests of categories, and encoders of any shape, mean the same in every backend as in the IR by its definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.encoders import ROWS, random_program
from models.forests import hard_rows, program_of, random_forest, source_of
from models.gate import gate
from models.torture import CASES

from millwork import triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact
from millwork.compile.runners.load import runner
from millwork.passes.categories import from_tables
from millwork.passes.forest import leaves
from millwork.passes.program import Program, encode, run


def agrees(backend: str, program: Program, folder: Path, rows: Any, categories: Any = None) -> None:
    """The built artifact's leaves are the interpreter's, one by one, and its answers are."""
    made = backends.find(backend).build(program, source_of("catboost"), folder, triton_releases.find("25.12"))
    assert isinstance(made, Artifact), made
    leaf = leaves(program.forest, encode(program, rows, categories))
    got = backends.find(backend).leaves(made, folder, rows, categories)
    assert np.array_equal(got, backends.find(backend).expected(program, leaf, leaf))
    engine = runner(made.runner)(folder / made.model_file, made.parameters, 1)
    answers = engine.predict(rows) if categories is None else engine.predict(rows, categories)
    np.testing.assert_allclose(answers, run(program, rows, categories), rtol=1e-5, atol=1e-5)


@given(
    seed=st.integers(0, 10**9),
    trees=st.integers(1, 6),
    depth=st.integers(1, 5),
    features=st.integers(1, 5),
    categorical=st.integers(1, 5),
    comparison=st.sampled_from(["<", "<="]),
    backend=st.sampled_from(["onnx", "fil", "native", "tensor"]),
)
@settings(max_examples=60, deadline=None)
def test_codes_of_categories_among_the_numbers(
    seed: int,
    trees: int,
    depth: int,
    features: int,
    categorical: int,
    comparison: str,
    backend: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Codes in a set and not, negative ones, fractions, 2^24 and more, infinities and NaN."""
    categorical = min(categorical, features)
    forest = random_forest(
        seed, trees=trees, depth=depth, features=features, categorical=categorical, comparison=comparison
    )
    rows = hard_rows(seed, ROWS, features, categorical)
    agrees(backend, program_of(forest), tmp_path_factory.mktemp("codes"), rows)


@given(seed=st.integers(0, 10**9), integer=st.booleans(), backend=st.sampled_from(["onnx", "fil", "native", "tensor"]))
@settings(max_examples=90, deadline=None)
def test_encoders_of_any_shape(
    seed: int, integer: bool, backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    program, rows, values = random_program(seed, integer=integer)
    agrees(backend, program, tmp_path_factory.mktemp("encoders"), rows, values)


@pytest.mark.parametrize("integer", [False, True], ids=["text", "integers"])
def test_encoders_come_back_from_their_tables(integer: bool) -> None:
    program, rows, values = random_program(11, integer=integer)
    assert program.categories is not None
    again = replace(program, categories=from_tables(program.categories.tables(), integer=integer))
    np.testing.assert_array_equal(encode(again, rows, values), encode(program, rows, values))


def test_text_may_come_as_the_bytes_of_the_wire() -> None:
    program, rows, values = random_program(5, integer=False)
    sent = np.array([[value.encode() for value in row] for row in values.tolist()], object)
    np.testing.assert_array_equal(encode(program, rows, sent), encode(program, rows, values))


@pytest.mark.parametrize("backend", backends.ON_CPU)
@pytest.mark.parametrize("name", ["catboost: CTRs", "xgboost: categories, strings"])
def test_bytes_of_a_client_that_arent_utf8_are_a_value_that_isnt_known(name: str, backend: str, tmp_path: Path) -> None:
    """And leave the other rows of their batch alone."""
    case = CASES[name](tmp_path)
    judged = gate(case.model, tmp_path / "gate", data=case.data, limit=300)
    built = judged.build(backend, tmp_path / "built").artifact
    assert built is not None
    engine = runner(built.runner)(tmp_path / "built" / built.model_file, built.parameters, 1)
    given = judged.given[-8:]
    assert given.categories is not None
    sent = np.array([[word.encode() for word in row] for row in given.categories.tolist()], object)
    np.testing.assert_allclose(engine.predict(given.numbers, sent), judged.answers[-8:], rtol=1e-5)
    sent[0, 0] = b"caf\xe9"
    strange = given.categories.astype("<U40")
    strange[0, 0] = "nobody knows it"
    np.testing.assert_array_equal(engine.predict(given.numbers, sent), engine.predict(given.numbers, strange))
