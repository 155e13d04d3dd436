"""A program of trees as text, for a reader and for golden tests: it prints, and parses back to the bit::

    postprocess binary
    columns 0 2 of 3
    missing -999.0
    comparison <
    features 2
    leaves float32 x 1
    base_scores 0.5
    set 0: 1 4 7
    tree 0 -> output 0
      0: x0 < 1.5 ? 1 : 2, nan left
      1: leaf 0 = 0.25
      2: x1 not in set 0 ? 3 : 4, nan right
      3: leaf 1 = -0.0
      4: leaf 2 = 1.25

A row goes to the first child where the test holds, else to the second. Nodes are numbered from their tree's root: a
change in one tree moves no line of another. A number is the shortest text that reads back as the same float of its own
type, or else a hexadecimal one; every NaN is ``nan``.

Lines that are left out where they'd say what is usual, in their order: ``missing``, ``rounds`` (``n_iterations``),
``trees_per_round``, ``sentinel`` (an encoder, a line each) and ``decision`` (how, and the cut) after ``columns``;
``reduction`` after ``comparison``. Where a node has something in a column that nodes of its kind don't use, its line
ends in that: ``; threshold=1.5 default_left=left``. Empty lines and lines that begin with ``#`` say nothing.

Not covered: a program's ``categories`` and ``linear``, and columns in other dtypes than :class:`.forest.Forest` says. A
ModelError says so; one that comes from parsing says at which line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar, get_args

import numpy as np

from ..errors import ModelError
from .forest import VECTOR_LEAF, Comparison, Forest, Reduction, check
from .program import POSTPROCESSES, Decision, MissingSentinel, Program
from .text_lines import FloatType, Lines, float_text, joined, read_float, read_floats, read_int, read_ints
from .text_nodes import Form, Node, columns, node_line, read_node

T = TypeVar("T")

DTYPES = {
    **dict.fromkeys(("tree_start", "feature", "left", "right", "leaf_number", "tree_output"), np.dtype(np.int32)),
    **dict.fromkeys(("category_set", "set_member"), np.dtype(np.int32)),
    "threshold": np.dtype(np.float32),
    "default_left": np.dtype(np.bool_),
    "set_start": np.dtype(np.int64),
}
FLOATS: dict[str, FloatType] = {"float32": np.float32, "float64": np.float64}
EVERY_OUTPUT = "every output"


def program_text(program: Program) -> str:
    """The text of a program. ModelError where it holds something that the text doesn't cover."""
    if program.categories is not None or program.linear is not None:
        raise ModelError("the text of a program covers neither categories' values nor a linear model")
    if program.columns.dtype != np.int32:
        raise ModelError("the text of a program covers columns in int32 only")
    return "".join(f"{line}\n" for line in _program_lines(program)) + forest_text(program.forest)


def forest_text(forest: Forest) -> str:
    """The text of a forest. ModelError where it isn't sound, or holds something that the text doesn't cover."""
    check(forest)
    for name, dtype in DTYPES.items():
        if getattr(forest, name).dtype != dtype:
            raise ModelError(f"the text of a forest covers {name} in {dtype} only")
    if forest.leaf_value.dtype.name not in FLOATS or forest.base_scores.dtype != forest.leaf_value.dtype:
        raise ModelError("the text of a forest covers leaves and base scores that are both float32 or both float64")
    if forest.leaf_value.shape[1] not in (1, forest.n_outputs):
        raise ModelError("the text of a forest covers leaves of one value, or of one for each output")
    return "".join(f"{line}\n" for line in _forest_lines(forest))


def parse_program(text: str) -> Program:
    """What :func:`program_text` printed. ModelError where it can't be."""
    return _parsed(_program, text)


def parse_forest(text: str) -> Forest:
    """What :func:`forest_text` printed. ModelError where it can't be."""
    return _parsed(_forest, text)


def _program_lines(program: Program) -> Iterator[str]:
    yield f"postprocess {program.postprocess}"
    yield " ".join(["columns", *map(str, program.columns), "of", str(program.n_columns)])
    if program.missing is not None:
        yield f"missing {_double(program.missing)}"
    if program.n_iterations is not None:
        yield f"rounds {program.n_iterations}"
    if program.trees_per_iteration != 1:
        yield f"trees_per_round {program.trees_per_iteration}"
    yield from (f"sentinel {_double(encoder.value)}" for encoder in program.encoders)
    if program.decision is not None:
        yield f"decision {program.decision.how} {_double(program.decision.cut)}"


def _forest_lines(forest: Forest) -> Iterator[str]:
    yield f"comparison {forest.comparison}"
    if forest.reduction != "sum":
        yield f"reduction {forest.reduction}"
    yield f"features {forest.n_features}"
    yield f"leaves {forest.leaf_value.dtype.name} x {forest.leaf_value.shape[1]}"
    yield f"base_scores {joined(forest.base_scores)}"
    for number, (begin, end) in enumerate(pairwise(forest.set_start)):
        yield f"set {number}: {joined(forest.set_member[begin:end])}".rstrip()
    for number, (begin, end) in enumerate(pairwise(forest.tree_start.tolist())):
        output = forest.tree_output[number]
        yield f"tree {number} -> {EVERY_OUTPUT if output == VECTOR_LEAF else f'output {output}'}"
        yield from (f"  {node_line(forest, node, begin)}" for node in range(begin, end))


def _parsed(parse: Callable[[Lines], T], text: str) -> T:
    lines = Lines(text)
    try:
        found = parse(lines)
        if (line := lines.next()) is not None:
            raise ValueError(f"expected the end, found {line!r}")
    except ValueError as error:
        raise ModelError(f"line {lines.number}: {error}") from None
    return found


def _program(lines: Lines) -> Program:
    postprocess = _one_of(POSTPROCESSES, lines.rest("postprocess"))
    sources, _, width = lines.rest("columns").rpartition("of")
    return Program(  # the arguments are read in the order of the lines
        postprocess=postprocess,
        columns=read_ints(sources),
        n_columns=int(width),
        missing=lines.optional("missing", _read_double),
        n_iterations=lines.optional("rounds", int),
        trees_per_iteration=1 if (count := lines.optional("trees_per_round", int)) is None else count,
        encoders=tuple(MissingSentinel(value=_read_double(text)) for text in lines.each("sentinel")),
        decision=lines.optional("decision", _decision),
        forest=_forest(lines),
    )


def _decision(text: str) -> Decision:
    how, _, cut = text.partition(" ")
    return Decision(how=_one_of(("second", "each", "largest"), how), cut=_read_double(cut))


def _forest(lines: Lines) -> Forest:
    comparison: Comparison = _one_of(get_args(Comparison), lines.rest("comparison"))
    reduction: Reduction = lines.optional("reduction", lambda text: _one_of(get_args(Reduction), text)) or "sum"
    features = int(lines.rest("features"))
    dtype, _, width = lines.rest("leaves").partition(" x ")
    form = Form(comparison, FLOATS[_one_of(tuple(FLOATS), dtype)], read_int(width))
    base_scores = read_floats(lines.rest("base_scores"), form.kind)
    if form.width not in (1, len(base_scores)):
        raise ValueError(f"leaves of {form.width} values for {len(base_scores)} outputs")
    sets = [_numbered(text, number, ":", read_ints) for number, text in enumerate(lines.each("set"))]
    starts, outputs = [0], []
    nodes: list[Node] = []
    for number, text in enumerate(lines.each("tree")):
        outputs.append(_numbered(text, number, " ->", _output))
        nodes += _nodes(lines, len(nodes), form)
        starts.append(len(nodes))
    return check(
        Forest(
            **columns(nodes, form),
            tree_start=np.array(starts, np.int32),
            tree_output=np.array(outputs, np.int32),
            base_scores=base_scores,
            n_features=features,
            comparison=comparison,
            reduction=reduction,
            set_start=np.cumsum([0, *map(len, sets)]).astype(np.int64),
            set_member=np.concatenate([np.zeros(0, np.int32), *sets]),
        )
    )


def _nodes(lines: Lines, root: int, form: Form) -> list[Node]:
    """The nodes of one tree: up to the next tree, or the end."""
    nodes: list[Node] = []
    while lines.next() is not None and not lines.begins("tree"):
        nodes.append(read_node(lines.whole(), len(nodes), root, form))
    return nodes


def _numbered(text: str, number: int, mark: str, read: Callable[[str], T]) -> T:
    """``3: …`` or ``3 -> …``: what is read of what follows the mark. ValueError where the number is another."""
    begin, found, rest = text.partition(mark)
    if not found or begin != str(number):
        raise ValueError(f"expected number {number}, found {text!r}")
    return read(rest.strip())


def _output(text: str) -> int:
    return VECTOR_LEAF if text == EVERY_OUTPUT else read_int(text.removeprefix("output "))


def _one_of(known: tuple[T, ...], text: str) -> T:
    found = [one for one in known if one == text]
    if not found:
        raise ValueError(f"{text!r} is none of {', '.join(map(str, known))}")
    return found[0]


def _double(value: float) -> str:
    return float_text(np.float64(value))


def _read_double(text: str) -> float:
    return float(read_float(text, np.float64))
