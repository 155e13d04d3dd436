"""``Program = encoders + forest + postprocess``: what a tree model computes, from the client's row to its answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from ..values import Value
from . import linear as lines
from .categories import Categories, Given, from_tables
from .encoding import Encoder
from .forest import Floats, Forest, Ints, Rows, check, leaves, margins
from .linear import Linear

Postprocess = Literal[
    "identity", "sigmoid", "binary", "softmax", "exp", "hinge", "binary-hinge", "binary-raw", "sort", "mean-variance"
]
"""From margins to the framework's answer. The order is that of :data:`POSTPROCESSES`: append, never insert.

``sigmoid``, ``softmax``, ``exp``: as they are called. ``hinge``: 1 where the margin is above 0, else 0. ``binary``,
``binary-hinge``, ``binary-raw``: one value v (sigmoid, hinge, the margin itself) as two classes, 1 - v and v.
``sort``: the K margins in ascending order (quantiles that must not cross). ``mean-variance``: of two margins, the first
as it is and exp(2 m) of the second. The others keep K.
"""

POSTPROCESSES: tuple[Postprocess, ...] = get_args(Postprocess)
"""A postprocess's place here is its number in the files of the forest kernels, which the C++ sources know too."""

PAIRS = frozenset({"binary", "binary-hinge", "binary-raw"})
"""Those that make two answers of one margin."""


class Decision(Value):
    """From probabilities to numbers of classes. ``second``: 1 where the second of two is above ``cut``, else 0;
    ``each``: the same of every output; ``largest``: the place of the largest, the first of equals."""

    how: Literal["second", "each", "largest"]
    cut: float = 0.5


class MissingSentinel(Value):
    """An encoder: a value equal to ``value`` is missing, as NaN is (XGBoost's ``missing=``)."""

    value: float


@dataclass(frozen=True, eq=False)
class Program:
    """``forest`` reads feature i from column ``columns[i]`` of the encoded row: the client's ``input__0`` float32
    [N, ``n_columns``] with its sentinels replaced, then the columns that ``categories`` makes of ``input__1``.

    ``n_iterations``: how many boosting rounds count (None: all), and ``trees_per_iteration`` trees make one round;
    ``missing`` is the wrapper's own sentinel. Both are still to be applied, by the passes that clear them: a
    program is *lowered* when neither is left. ``linear``: the margins instead of the forest's, which has no trees then;
    its weights are those of the encoded row's columns. ``decision``: what is made of the answers at last.
    """

    forest: Forest
    postprocess: Postprocess
    columns: Ints
    n_columns: int
    encoders: tuple[MissingSentinel, ...] = ()
    missing: float | None = None
    n_iterations: int | None = None
    trees_per_iteration: int = 1
    categories: Categories | None = None
    linear: Linear | None = None
    decision: Decision | None = None

    @property
    def n_answers(self) -> int:
        """K of ``output__0``."""
        if self.decision is not None and self.decision.how != "each":
            return 1
        return self.n_probabilities

    @property
    def n_probabilities(self) -> int:
        """K before a decision is taken."""
        return 2 if self.postprocess in PAIRS else self.forest.n_outputs

    @property
    def n_encoded(self) -> int:
        """Columns of the encoded row."""
        return self.n_columns + (0 if self.categories is None else self.categories.n_columns)


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
    integer_categories: bool | None = None
    decision: Decision | None = None


def encoding_tables(program: Program) -> dict[str, npt.NDArray[Any]]:
    """The encoders as the tables of :mod:`millwork.passes.encoding`."""
    own = () if program.missing is None else (program.missing,)
    sentinels = np.array([*own, *(encoder.value for encoder in program.encoders)], np.float32)
    return {"sentinels": sentinels} | ({} if program.categories is None else program.categories.tables())


def encode_all(program: Program, rows: Rows, categories: Given | None = None) -> Rows:
    """The whole encoded row, float32 [N, n_encoded]."""
    out: Rows = Encoder(encoding_tables(program))(rows, categories)
    return out


def encode(program: Program, rows: Rows, categories: Given | None = None) -> Rows:
    """The client's rows, float32 [N, n_columns] and [N, C], as the forest reads them: its columns only."""
    return encode_all(program, rows, categories)[:, program.columns]


def run(program: Program, rows: Rows, categories: Given | None = None) -> Floats:
    """The program by its definition: answers [N, K] for the client's rows. For tests; slow and plain."""
    if program.linear is not None:
        margin = lines.margins(program.linear, encode_all(program, rows, categories))
    else:
        cut = counted(program)
        margin = margins(cut, leaves(cut, encode(program, rows, categories)))
    answers = transform(program.postprocess, margin)
    return answers if program.decision is None else decide(program.decision, answers)


def decide(decision: Decision, answers: Floats) -> Floats:
    """Probabilities [N, K] to labels: [N, K] where each is decided for itself, else [N, 1]."""
    if decision.how == "largest":
        return np.asarray(answers.argmax(axis=1)[:, None], answers.dtype)
    return ((answers if decision.how == "each" else answers[:, 1:2]) > decision.cut).astype(answers.dtype)


def transform(postprocess: Postprocess, margin: Floats) -> Floats:
    """Margins [N, K] to answers [N, K'] in the same dtype."""
    with np.errstate(over="ignore"):
        match postprocess:
            case "identity":
                return margin
            case "binary" | "sigmoid":
                value = np.asarray(1 / (1 + np.exp(-margin)), margin.dtype)
            case "hinge" | "binary-hinge":
                value = (margin > 0).astype(margin.dtype)
            case "binary-raw":
                value = margin
            case "softmax":
                e: Floats = np.exp(margin - margin.max(axis=1, keepdims=True))
                return np.asarray(e / e.sum(axis=1, keepdims=True))
            case "exp":
                return np.asarray(np.exp(margin))
            case "sort":
                return np.sort(margin, axis=1)
            case "mean-variance":
                return np.stack([margin[:, 0], np.exp(2 * margin[:, 1])], axis=1)
    return np.hstack([1 - value, value]) if postprocess in PAIRS else value


def save(program: Program, path: Path) -> None:
    """Write the program as an .npz without pickles."""
    f = program.forest
    card = _Card(
        postprocess=program.postprocess,
        n_columns=program.n_columns,
        encoders=program.encoders,
        missing=program.missing,
        n_iterations=program.n_iterations,
        trees_per_iteration=program.trees_per_iteration,
        n_features=f.n_features,
        comparison=f.comparison,
        reduction=f.reduction,
        integer_categories=None if program.categories is None else program.categories.integer,
        decision=program.decision,
    )
    blob = np.frombuffer(msgspec.json.encode(card), np.uint8)
    columns: dict[str, npt.NDArray[Any]] = {"card": blob, "columns": program.columns}
    if program.linear is not None:
        columns |= {f"linear_{name}": value for name, value in vars(program.linear).items()}
    if program.categories is not None:
        columns |= {f"encoding_{name}": value for name, value in program.categories.tables().items()}
    with path.open("wb") as file:
        np.savez(file, **columns, **f.arrays())  # type: ignore[arg-type]


def load(path: Path) -> Program:
    """Read what :func:`save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        table = {name: arrays[name] for name in arrays.files}
    card = msgspec.json.decode(table.pop("card").tobytes(), type=_Card)
    columns = table.pop("columns")
    linear = _taken(table, "linear_")
    encoding = _taken(table, "encoding_")
    forest = Forest(**table, n_features=card.n_features, comparison=card.comparison, reduction=card.reduction)
    return Program(
        forest=check(forest),
        postprocess=card.postprocess,
        columns=columns,
        n_columns=card.n_columns,
        encoders=card.encoders,
        missing=card.missing,
        n_iterations=card.n_iterations,
        trees_per_iteration=card.trees_per_iteration,
        categories=None if card.integer_categories is None else from_tables(encoding, integer=card.integer_categories),
        linear=lines.check(Linear(**linear)) if linear else None,
        decision=card.decision,
    )


def _taken(table: dict[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    """Take the arrays whose names begin so out of the table."""
    names = [name for name in table if name.startswith(prefix)]
    return {name.removeprefix(prefix): table.pop(name) for name in names}


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
        for name in (
            "feature",
            "threshold",
            "left",
            "right",
            "default_left",
            "leaf_value",
            "leaf_number",
            "category_set",
        )
    }
    return forest.replacing(
        tree_start=forest.tree_start[: trees + 1], tree_output=forest.tree_output[:trees], **columns
    )
