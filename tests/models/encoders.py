"""Random encoders straight in the IR: vocabularies, codes and CTRs, and rows for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from millwork.passes.categories import UNKNOWN_HASH, Categories, Code, Ctr, mix
from millwork.passes.program import Program

from .forests import HARD, hard_rows, program_of, random_forest

WORDS = ["Oslo", "Troms\u00f8", "a, b", "", "7", "-0", "x" * 100, "\u9752"]
NUMBERS, ROWS = 3, 150


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
        for c, words in enumerate(vocabularies)
        if rng.random() < 0.7
    )
    ctrs = tuple(random_ctr(rng, rows, place, hashes) for _ in range(int(rng.integers(0, 4))))
    categories = Categories(integer=integer, vocabularies=vocabularies, codes=codes, hashes=hashes, ctrs=ctrs)
    after = NUMBERS + len(codes)
    columns = [*range(NUMBERS), *range(after, NUMBERS + categories.n_columns), *range(NUMBERS, after)]
    forest = random_forest(seed, trees=6, depth=5, features=len(columns), categorical=len(codes), comparison="<=")
    program = replace(program_of(forest), columns=np.array(columns, np.int32), n_columns=NUMBERS, categories=categories)
    return program, rows, given_values
