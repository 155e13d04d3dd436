"""A node of :mod:`.text`, a line each: what all nodes of its kind have isn't said, what else it has comes last."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .forest import Comparison, Floats, Forest
from .text_lines import FloatType, float_text, joined, read_float, read_floats, read_int

LINE = re.compile(
    r"(?P<number>\d+): (?:leaf (?P<leaf_number>-?\d+) = (?P<leaf_value>\S+)|"
    r"x(?P<feature>\d+) (?:not in set (?P<category_set>\d+)|(?P<comparison><=?) (?P<threshold>\S+))"
    r" \? (?P<left>\d+) : (?P<right>\d+), nan (?P<default_left>left|right))(?:; (?P<others>.+))?"
)

Row = dict[str, str]
"""A node's columns by name, as texts. ``left`` and ``right`` of a test are counted from the tree's root."""


@dataclass(frozen=True)
class Form:
    """What all nodes of a forest have in common. ``kind``, ``width``: of a leaf's values."""

    comparison: Comparison
    kind: FloatType
    width: int


@dataclass(frozen=True, eq=False)
class Node:
    """A line, read; its columns as the forest's table has them."""

    feature: int
    threshold: np.floating[Any]
    left: int
    right: int
    default_left: bool
    leaf_value: Floats
    leaf_number: int
    category_set: int


def implied(width: int) -> Row:
    """What a node has in the columns that its line doesn't tell. ``width``: values a leaf."""
    return {
        **dict.fromkeys(("feature", "left", "right", "leaf_number", "category_set"), "-1"),
        "threshold": "0.0",
        "default_left": "right",
        "leaf_value": ",".join(["0.0"] * width),
    }


def node_line(forest: Forest, node: int, root: int) -> str:
    """``root``: the tree's first node."""
    if forest.left[node] < 0:
        row = _row(forest, node, 0)
        told = {"leaf_number", "leaf_value"}
        said = f"leaf {row['leaf_number']} = {row['leaf_value']}"
    else:
        row = _row(forest, node, root)
        by_set = bool(forest.category_set[node] >= 0)
        told = {"feature", "category_set" if by_set else "threshold", "left", "right", "default_left"}
        test = f"not in set {row['category_set']}" if by_set else f"{forest.comparison} {row['threshold']}"
        said = f"x{row['feature']} {test} ? {row['left']} : {row['right']}, nan {row['default_left']}"
    usual = implied(forest.leaf_value.shape[1])
    others = " ".join(f"{name}={text}" for name, text in row.items() if name not in told and text != usual[name])
    return f"{node - root}: {said}{others and f'; {others}'}"


def _row(forest: Forest, node: int, root: int) -> Row:
    return {
        "feature": str(forest.feature[node]),
        "threshold": float_text(forest.threshold[node]),
        "left": str(forest.left[node] - root),
        "right": str(forest.right[node] - root),
        "default_left": "left" if forest.default_left[node] else "right",
        "leaf_value": joined(forest.leaf_value[node], ","),
        "leaf_number": str(forest.leaf_number[node]),
        "category_set": str(forest.category_set[node]),
    }


def read_node(line: str, number: int, root: int, form: Form) -> Node:
    """The tree's node of that number. ValueError for a line that isn't one."""
    found = LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} is no node")
    said = {name: text for name, text in found.groupdict().items() if text is not None}
    if int(said.pop("number")) != number:
        raise ValueError(f"expected node {number}, found {line!r}")
    if said.pop("comparison", form.comparison) != form.comparison:
        raise ValueError(f"a test that isn't {form.comparison}: {line!r}")
    moved = root if "left" in said else 0
    others = [item.partition("=")[::2] for item in said.pop("others", "").split()]
    usual = implied(form.width)
    row = usual | said | dict(others)
    if row.keys() != usual.keys() or said.keys() & dict(others).keys():
        raise ValueError(f"a column that nodes don't have, or that stands there twice: {line!r}")
    values = read_floats(row["leaf_value"], form.kind, ",")
    if len(values) != form.width or row["default_left"] not in ("left", "right"):
        raise ValueError(f"a leaf of other than {form.width} values, or NaN neither left nor right: {line!r}")
    return Node(
        feature=read_int(row["feature"]),
        threshold=read_float(row["threshold"], np.float32),
        left=read_int(row["left"], moved),
        right=read_int(row["right"], moved),
        default_left=row["default_left"] == "left",
        leaf_value=values,
        leaf_number=read_int(row["leaf_number"]),
        category_set=read_int(row["category_set"]),
    )


def columns(nodes: Sequence[Node], form: Form) -> dict[str, npt.NDArray[Any]]:
    """The nodes' columns as :class:`.forest.Forest` has them."""
    ints = ("feature", "left", "right", "leaf_number", "category_set")
    return {
        **{name: np.array([getattr(node, name) for node in nodes], np.int32) for name in ints},
        "threshold": np.array([node.threshold for node in nodes], np.float32),
        "default_left": np.array([node.default_left for node in nodes], np.bool_),
        "leaf_value": np.array([node.leaf_value for node in nodes], form.kind).reshape(len(nodes), form.width),
    }
