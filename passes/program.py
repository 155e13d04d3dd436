"""``Program = encoders + forest + postprocess``: what a tree model computes, from the client's row to its answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from ..values import Value
from .forest import Floats, Forest, Ints, Rows, check, leaves, margins

Postprocess = Literal["identity", "binary", "sigmoid", "softmax", "exp"]
"""From margins to the framework's answer. ``binary``: one margin to two classes, 1 - p and p; the others keep K."""


class MissingSentinel(Value):
    """An encoder: a value equal to ``value`` is missing, as NaN is (XGBoost's ``missing=``)."""

    value: float


@dataclass(frozen=True, eq=False)
class Program:
    """``forest`` reads feature i from column ``columns[i]`` of the client's row, float32 [N, ``n_columns``].

    ``n_iterations``: how many boosting rounds count (None: all), and ``trees_per_iteration`` trees make one round;
    ``missing`` is the wrapper's own sentinel. Both are still to be applied, by the passes that clear them: a
    program is *lowered* when neither is left.
    """

    forest: Forest
    postprocess: Postprocess
    columns: Ints
    n_columns: int
    encoders: tuple[MissingSentinel, ...] = ()
    missing: float | None = None
    n_iterations: int | None = None
    trees_per_iteration: int = 1

    @property
    def n_answers(self) -> int:
        """K of ``output__0``."""
        return 2 if self.postprocess == "binary" else self.forest.n_outputs


class _Card(Value):
    postprocess: Postprocess
    n_columns: int
    encoders: tuple[MissingSentinel, ...]
    missing: float | None
    n_iterations: int | None
    trees_per_iteration: int
    n_features: int
    comparison: Literal["<", "<="]
    reduction: Literal["sum", "average"]


def encode(program: Program, rows: Rows) -> Rows:
    """The client's rows, float32 [N, n_columns], as the forest reads them: sentinels to NaN, its columns only."""
    out = rows[:, program.columns].astype(np.float32)
    for sentinel in _sentinels(program):
        out[out == np.float32(sentinel)] = np.nan
    return out


def run(program: Program, rows: Rows) -> Floats:
    """The program by its definition: answers [N, K] for the client's rows. For tests; slow and plain."""
    cut = counted(program)
    return transform(program.postprocess, margins(cut, leaves(cut, encode(program, rows))))


def transform(postprocess: Postprocess, margin: Floats) -> Floats:
    """Margins [N, K] to answers [N, K'] in the same dtype."""
    with np.errstate(over="ignore"):
        if postprocess in ("binary", "sigmoid"):
            p = np.asarray(1 / (1 + np.exp(-margin)), margin.dtype)
            return np.hstack([1 - p, p]) if postprocess == "binary" else p
        if postprocess == "softmax":
            e: Floats = np.exp(margin - margin.max(axis=1, keepdims=True))
            return np.asarray(e / e.sum(axis=1, keepdims=True))
        return np.asarray(np.exp(margin)) if postprocess == "exp" else margin


def save(program: Program, path: Path) -> None:
    """Write the program as an .npz without pickles."""
    f = program.forest
    card = _Card(
        postprocess=program.postprocess, n_columns=program.n_columns, encoders=program.encoders,
        missing=program.missing, n_iterations=program.n_iterations,
        trees_per_iteration=program.trees_per_iteration, n_features=f.n_features,
        comparison=f.comparison, reduction=f.reduction,
    )  # fmt: skip
    blob = np.frombuffer(msgspec.json.encode(card), np.uint8)
    columns: dict[str, npt.NDArray[Any]] = {"card": blob, "columns": program.columns}
    with path.open("wb") as file:
        np.savez(file, **columns, **f.arrays())  # type: ignore[arg-type]


def load(path: Path) -> Program:
    """Read what :func:`save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        table = {name: arrays[name] for name in arrays.files}
    card = msgspec.json.decode(table.pop("card").tobytes(), type=_Card)
    columns = table.pop("columns")
    forest = Forest(**table, n_features=card.n_features, comparison=card.comparison, reduction=card.reduction)
    return Program(
        forest=check(forest), postprocess=card.postprocess, columns=columns, n_columns=card.n_columns,
        encoders=card.encoders, missing=card.missing, n_iterations=card.n_iterations,
        trees_per_iteration=card.trees_per_iteration,
    )  # fmt: skip


def _sentinels(program: Program) -> tuple[float, ...]:
    own = () if program.missing is None else (program.missing,)
    return own + tuple(encoder.value for encoder in program.encoders)


def counted(program: Program) -> Forest:
    """The trees that count: all, or the first ``n_iterations`` rounds."""
    if program.n_iterations is None:
        return program.forest
    trees = min(program.n_iterations * program.trees_per_iteration, program.forest.n_trees)
    return first_trees(program.forest, trees)


def first_trees(forest: Forest, trees: int) -> Forest:
    """The first ``trees`` trees alone."""
    end = int(forest.tree_start[trees])
    columns = {
        name: getattr(forest, name)[:end]
        for name in ("feature", "threshold", "left", "right", "default_left", "leaf_value", "leaf_number")
    }
    return forest.replacing(
        tree_start=forest.tree_start[: trees + 1], tree_output=forest.tree_output[:trees], **columns
    )
