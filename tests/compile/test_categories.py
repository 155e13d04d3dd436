"""Tests of categories, and encoders of any shape, mean the same in every backend as in the IR by its definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.forests import HARD, hard_rows, program_of, random_forest

from millwork import triton_releases
from millwork.compile import backends
from millwork.compile.backends.base import Built, Source
from millwork.compile.frontends.loaded import Oracle, Signature
from millwork.compile.runners.load import runner
from millwork.passes.categories import UNKNOWN_HASH, Categories, Code, Ctr, from_tables, mix
from millwork.passes.forest import leaves
from millwork.passes.program import Program, encode, run
from millwork.values import FeatureContract, OutputContract, Provenance

SIGNATURE = Signature(
    provenance=Provenance(path="m", format="f", sha256="0" * 64, framework="catboost", framework_version=""),
    features=FeatureContract(names=(), named=False),
    output=OutputContract(kind="value", task="regression", labels=()),
    objective="",
    oracle=Oracle(framework="catboost", version="", native_file="model.json", parameters={}),
)
WORDS = ["Oslo", "Troms\u00f8", "a, b", "", "7", "-0", "x" * 100, "\u9752"]
NUMBERS, ROWS = 3, 150


def agrees(backend: str, program: Program, folder: Path, rows: Any, categories: Any = None) -> None:
    """The built artifact's leaves are the interpreter's, one by one, and its answers are."""
    made = backends.find(backend).build(
        program, Source(native="", signature=SIGNATURE), folder, triton_releases.find("25.12")
    )
    assert isinstance(made, Built), made
    leaf = leaves(program.forest, encode(program, rows, categories))
    got = backends.find(backend).leaves(made, folder, rows, categories)
    assert np.array_equal(got, leaf - program.forest.tree_start[:-1])
    engine = runner(made.runner)(folder / made.model_file, made.parameters, 1)
    answers = engine.predict(rows) if categories is None else engine.predict(rows, categories)
    np.testing.assert_allclose(answers, run(program, rows, categories), rtol=1e-5, atol=1e-5)


@given(
    seed=st.integers(0, 10**9), trees=st.integers(1, 6), depth=st.integers(1, 5), features=st.integers(1, 5),
    categorical=st.integers(1, 5), comparison=st.sampled_from(["<", "<="]), backend=st.sampled_from(["onnx", "fil"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_codes_of_categories_among_the_numbers(
    seed: int, trees: int, depth: int, features: int, categorical: int, comparison: str, backend: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Codes in a set and not, negative ones, fractions, 2^24 and more, infinities and NaN."""
    categorical = min(categorical, features)
    forest = random_forest(
        seed, trees=trees, depth=depth, features=features, categorical=categorical, comparison=comparison
    )
    rows = hard_rows(seed, ROWS, features, categorical)
    agrees(backend, program_of(forest), tmp_path_factory.mktemp("codes"), rows)


def random_values(rng: np.random.Generator, vocabularies: Any, *, integer: bool) -> Any:
    """Known values of each feature, and one in five that isn't."""
    unknown = 10**12 if integer else "nobody"
    columns = [[*(words[i] for i in rng.integers(0, len(words), ROWS))] for words in vocabularies]
    for column in columns:
        for i in np.flatnonzero(rng.random(ROWS) < 0.2):
            column[i] = unknown
    return np.array(columns, np.int64 if integer else np.str_).T


def random_ctr(rng: np.random.Generator, numbers: Any, place: Any, hashes: Any) -> Ctr:
    """Of a random combination of elements; its keys are those of half of the rows."""
    count = len(hashes)
    parts = {
        "categories": rng.permutation(count)[: rng.integers(1, count + 1)].astype(np.int32),
        "columns": rng.integers(0, NUMBERS, rng.integers(0, 3)).astype(np.int32),
        "features": rng.integers(0, count, rng.integers(0, 2)).astype(np.int32),
    }
    borders = rng.choice(HARD, len(parts["columns"])).astype(np.float32)
    nan = rng.random(len(parts["columns"])) < 0.5
    values = np.array([rng.choice(hashes[c]) for c in parts["features"]], np.int64)
    h = np.zeros(ROWS, np.uint64)
    for c in parts["categories"]:
        h = mix(h, hashes[c][place[c]])
    for column, border, above in zip(parts["columns"], borders, nan, strict=True):
        x = numbers[:, column]
        h = mix(h, np.where(np.isnan(x), above, x > border))
    for c, value in zip(parts["features"], values, strict=True):
        h = mix(h, hashes[c][place[c]] == value)
    keys = np.unique(h[: ROWS // 2])
    table = rng.choice(np.concatenate([HARD, np.nextafter(HARD, np.float32(9))]), (len(keys) + 1, rng.integers(1, 3)))
    return Ctr(borders=borders, nan=nan, values=values, keys=keys, table=table.astype(np.float32), **parts)


def random_program(seed: int, *, integer: bool) -> tuple[Program, Any, Any]:
    rng = np.random.default_rng(seed)
    pool: list[Any] = [-7, 0, 1, 2**40, 99, 12, -(2**62), 5] if integer else WORDS
    vocabularies = tuple(tuple(pool[i] for i in rng.permutation(8)[: rng.integers(1, 9)]) for _ in range(2))
    hashes = tuple(np.append(rng.integers(-(2**31), 2**31 - 1, len(words)), UNKNOWN_HASH) for words in vocabularies)
    rows, given_values = hard_rows(seed, ROWS, NUMBERS), random_values(rng, vocabularies, integer=integer)
    place = [
        np.array([words.index(value) if value in words else len(words) for value in column])
        for words, column in zip(vocabularies, given_values.T.tolist(), strict=True)
    ]
    codes = tuple(
        Code(c, np.append(rng.permutation(len(words)), rng.choice([np.nan, -1])).astype(np.float32))
        for c, words in enumerate(vocabularies) if rng.random() < 0.7
    )  # fmt: skip
    ctrs = tuple(random_ctr(rng, rows, place, hashes) for _ in range(int(rng.integers(0, 4))))
    categories = Categories(integer=integer, vocabularies=vocabularies, codes=codes, hashes=hashes, ctrs=ctrs)
    after = NUMBERS + len(codes)
    columns = [*range(NUMBERS), *range(after, NUMBERS + categories.n_columns), *range(NUMBERS, after)]
    forest = random_forest(seed, trees=6, depth=5, features=len(columns), categorical=len(codes), comparison="<=")
    program = replace(program_of(forest), columns=np.array(columns, np.int32), n_columns=NUMBERS, categories=categories)
    return program, rows, given_values


@given(seed=st.integers(0, 10**9), integer=st.booleans(), backend=st.sampled_from(["onnx", "fil"]))
@settings(max_examples=60, deadline=None)
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
