"""How far numbers may be apart: given by the user, or derived from the precision and the size of the model.

A float32 sum of T leaves rounds T times, each time by at most 2^-24 of what is summed. Rounding errors are as good as
independent, so margins differ by no more than about 6 sqrt(T) * 2^-24 * (the largest sum of |leaf| over a row), and
never by more than T times it (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019). A
logistic, softmax or exponential answer moves by at most that factor of itself. Nothing is compared by an absolute
bound alone.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..passes.forest import SUNK, VECTOR_LEAF, Floats, Ints, Rows
from ..passes.linear import Linear
from ..passes.program import Postprocess, Program
from ..values import Value

ROUNDING = 2.0**-24
"""Half a unit in the last place of float32, relative."""

FURTHEST = 3
"""No row may be further off than so many times what most must keep to."""


class Tolerance(Value):
    """An answer passes within ``abs + rel * |framework's|``. ``why`` is where the numbers come from. ``share``: of the
    rows, how many may be outside, by no more than ``FURTHEST`` times that; ``flips``: how many may be decided
    differently. Neither allows a NaN or an infinity."""

    abs: float
    rel: float
    why: str
    share: float = 0.0
    flips: float = 1.0

    @property
    def words(self) -> str:
        rows = f" on {1 - self.share:.1%} of the rows, {FURTHEST} times that on the rest" if self.share else ""
        flips = f", at most {self.flips:.1%} decided differently" if self.flips < 1 else ""
        return f"|difference| <= {self.abs:.2g} + {self.rel:.2g} x |framework's answer|{rows}{flips} ({self.why})"


def parse(spec: str) -> Tolerance:
    """``abs=1e-6,rel=1e-5``; what is left out is 0. UsageError for anything else."""
    given: dict[str, float] = {}
    for part in spec.split(","):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in ("abs", "rel") or not (math.isfinite(number) and number >= 0):
            raise UsageError(
                f"--tolerance {spec!r}: {part.strip()!r} isn't abs=NUMBER or rel=NUMBER", "Example: abs=1e-6,rel=1e-5."
            )
        if name in given:
            raise UsageError(f"--tolerance {spec!r}: {name}= is given twice", "Example: abs=1e-6,rel=1e-5.")
        given[name] = number
    if "rel" in given or given["abs"] == 0:
        return Tolerance(abs=given.get("abs", 0.0), rel=given.get("rel", 0.0), why="given by --tolerance")
    raise UsageError(
        f"--tolerance {spec!r}: an absolute bound alone doesn't test small answers", "Add rel=…, for example rel=1e-5."
    )


EXACT_LABELS = Tolerance(abs=0.0, rel=0.0, why="labels must be identical")


SHARES = {"fp32": (3e-4, 1e-4, 0.0, 1.0), "fp16": (0.02, 0.02, 0.002, 0.005), "int8": (0.1, 0.05, 0.01, 0.02)}
"""Of a net, by precision: how far of the answers' spread, how far of an answer itself, the share of the rows that may
be outside, and of those that may be decided differently. float32 nets add up in other orders, which moves an answer by
some units in the last place of what is added: most kinds by less than 1e-6 of the spread, TabNet, whose sparsemax
magnifies it, by up to 1e-4, as far as torch's own answers are from one another in batches of other sizes. fp16 has
2^-11, int8 2^-7 of a layer's range (measured on ten kinds of nets: docs/nets.md)."""


def of_labels(precision: str, labels: int) -> Tolerance:
    """For a net that answers with the number of a class: fp32 decides as the framework does, and lower precisions
    differently as seldom as usual. How far two numbers of classes are apart means nothing."""
    if precision == "fp32":
        return EXACT_LABELS
    *_, flips = SHARES[precision]
    return Tolerance(abs=float(max(labels, 2)), rel=0.0, why=f"{precision}, labels", flips=flips)


def given_of_precision(spec: str, precision: str) -> Tolerance:
    """For a net's answers: as far as ``spec`` says, of as many rows, and with as few decided differently, as usual."""
    *_, share, flips = SHARES[precision]
    return msgspec.structs.replace(parse(spec), share=share, flips=flips)


def of_precision(precision: str, framework: npt.NDArray[np.float32], *, probability: bool) -> Tolerance:
    """For a net's answers float32 [N, K]: from their spread, which of probabilities is 1."""
    near, relative, share, flips = SHARES[precision]
    finite = framework[np.isfinite(framework)].astype(np.float64)
    spread = 1.0 if probability else float(finite.std()) if finite.size else 1.0
    if precision == "fp32" and finite.size and not probability:
        spread = max(spread, float(np.quantile(np.abs(finite), 0.99)))
    why = "probabilities" if probability else f"answers spread by {spread:.3g}"
    return Tolerance(abs=near * spread, rel=relative, why=f"{precision}, {why}", share=share, flips=flips)


def derive(program: Program, leaf: Ints) -> Tolerance:
    """For fp32: from the trees and the rows (``leaf``: int32 [N, T], rows of the lowered forest's node table)."""
    forest = program.forest
    size = np.abs(forest.leaf_value).max(axis=1)
    total = float(_per_output(forest.tree_output, size[leaf]).max(initial=0.0)) + _largest(forest.base_scores)
    trees = _trees_of_an_output(forest.tree_output)
    return _of_sum(program.postprocess, trees, total, f"float32 sums of {trees} trees, up to {total:.3g} a row")


def derive_linear(linear: Linear, postprocess: Postprocess, rows: Rows) -> Tolerance:
    """For a linear program: from the products that a row adds up (``rows``: encoded, float32 [N, E])."""
    total, terms = 0.0, len(linear.weight) + 1
    own = np.where(linear.bias == SUNK, 0, np.abs(linear.bias))
    step = max(1, (1 << 22) // terms)
    for some in (rows[i : i + step] for i in range(0, len(rows), step)):
        present = np.where(np.isfinite(some), np.abs(some), 0).astype(np.float64)
        for weight, bias in zip(np.abs(linear.weight.T).astype(np.float64), own, strict=True):
            total = max(total, float(_rounded(present * weight, float(bias)).max(initial=0.0)))
    return _of_sum(postprocess, terms, total, f"float32 sums of {terms} products, up to {total:.3g} a row")


def _largest(base_scores: Floats) -> float:
    """Of those that are numbers: an answer that is 0 whatever is added must be 0, and says nothing of the others."""
    return float(np.where(base_scores == SUNK, 0, np.abs(base_scores)).max(initial=0))


SATURATED = 128.0
"""Beyond it every transform's answer is 0, 1 or infinite."""


def _rounded(products: npt.NDArray[np.float64], bias: float) -> npt.NDArray[np.float64]:
    """[N]: how much of each row's sum is rounded as it is added up; changes ``products`` [N, E]. Where one product is
    2^26 times all the rest, nothing is: the sum is that product in whatever order, and only a small one counts."""
    row, top = np.arange(len(products)), products.argmax(axis=1)
    largest = products[row, top]
    products[row, top] = 0
    rest = products.sum(axis=1) + bias
    return np.asarray(np.where((largest >= rest * 2.0**26) & (largest > SATURATED), 0.0, largest + rest))


def _of_sum(postprocess: Postprocess, terms: int, total: float, why: str) -> Tolerance:
    """What rounding ``terms`` additions of ``total`` in all does to the answer."""
    margin = min(terms + 1, 6 * math.sqrt(terms + 1)) * ROUNDING * total
    if postprocess in ("identity", "sort", "binary-raw", "hinge", "binary-hinge"):
        return Tolerance(abs=margin + 4 * ROUNDING * total, rel=4 * ROUNDING, why=why)
    if postprocess == "mean-variance":  # the mean is a sum, and the variance moves by a factor
        return Tolerance(abs=margin + 4 * ROUNDING * total, rel=math.expm1(2 * margin) + 16 * ROUNDING, why=why)
    absolute = 4 * ROUNDING if postprocess != "exp" else 0.0
    spread = 2 * margin if postprocess == "softmax" else margin  # an answer moves with its own and all margins
    return Tolerance(abs=absolute, rel=math.expm1(spread) + 16 * ROUNDING * (1 + total / 8), why=why)


def _trees_of_an_output(tree_output: Ints) -> int:
    """How many leaves are added up for the output that most trees add to."""
    own = np.bincount(tree_output[tree_output != VECTOR_LEAF], minlength=1)
    return int(own.max() + np.count_nonzero(tree_output == VECTOR_LEAF))


def _per_output(tree_output: Ints, size: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Sum of |leaf| a row for the output that gets most."""
    outputs = [k for k in np.unique(tree_output) if k != VECTOR_LEAF] or [VECTOR_LEAF]
    shared = size[:, tree_output == VECTOR_LEAF].sum(axis=1, dtype=np.float64)
    own = [size[:, tree_output == k].sum(axis=1, dtype=np.float64) for k in outputs if k != VECTOR_LEAF]
    return np.asarray(shared + (np.max(own, axis=0) if own else 0.0))
