"""Golden rows: does a served model answer as the framework did?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PublicationError
from ..values import Value
from .client import SilentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .client import Session

FIRST_BATCHES = (1, 3)
"""Sizes of the first requests: one row alone, then an odd number."""

UNBATCHED_ROWS = 1024
"""Rows of a request to a model that sets no limit."""


class GoldenVerdict(Value):
    """``max_abs``: the largest |got - expected|; infinite where one is NaN or infinite and the other isn't.

    ``reason`` is empty where they agreed. ``rows``: how many rows were answered and compared.
    """

    agreed: bool
    max_abs: float
    rows: int
    reason: str = ""


def check_golden(
    session: Session,
    name: str,
    version: int | None,
    x: NDArray[np.float32],
    expected: NDArray[np.float32],
    absolute: float,
    relative: float = 0.0,
    categories: NDArray[Any] | None = None,
) -> GoldenVerdict:
    """Ask for the rows ``x`` [N, F], with ``categories`` [N, C] where the model takes them, and compare with
    ``expected`` [N, K].

    In requests of 1 row, of 3, and the rest in as large ones as the model takes. A row agrees if for each output
    |got - expected| <= absolute + relative * |expected|, a NaN is met by a NaN and an infinity by the same one.
    A server that fails is a verdict with its reason.
    """
    if len(x) == 0 or len(x) != len(expected):
        return GoldenVerdict(
            agreed=False, max_abs=0.0, rows=0, reason=f"{len(x)} golden rows and {len(expected)} answers"
        )
    largest, done = 0.0, 0
    try:
        for size in batches(len(x), session.max_batch_size(name, version)):
            part = slice(done, done + size)
            got = session.infer(name, x[part], version, None if categories is None else categories[part])
            largest = max(largest, _largest(got, expected[part]))
            reason = _difference(got, expected[part], (absolute, relative), done)
            done += size
            if reason:
                return GoldenVerdict(agreed=False, max_abs=largest, rows=done, reason=reason)
    except SilentError:
        raise
    except PublicationError as error:
        return GoldenVerdict(agreed=False, max_abs=largest, rows=done, reason=error.message)
    return GoldenVerdict(agreed=True, max_abs=largest, rows=done)


def batches(rows: int, limit: int) -> list[int]:
    """Sizes of requests that sum to ``rows``: 1, 3, then ``limit`` rows each (0: no limit of the model's)."""
    limit = limit or UNBATCHED_ROWS
    sizes: list[int] = []
    while rows:
        wanted = FIRST_BATCHES[len(sizes)] if len(sizes) < len(FIRST_BATCHES) else limit
        sizes.append(min(wanted, limit, rows))
        rows -= sizes[-1]
    return sizes


def _difference(
    got: NDArray[np.float32], expected: NDArray[np.float32], allowed: tuple[float, float], first: int
) -> str:
    """Why the answers differ, or nothing. ``first``: the number of the first of these rows."""
    if got.shape != expected.shape:
        return f"answers have shape {list(got.shape)}, expected {list(expected.shape)}"
    wanted = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        near = np.abs(got - wanted) <= allowed[0] + allowed[1] * np.abs(wanted)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    agree = same | (near & np.isfinite(wanted))
    if agree.all():
        return ""
    row, column = (int(n) for n in np.argwhere(~agree)[0])
    return (
        f"row {first + row}, output {column}: got {got[row, column]!s}, expected {expected[row, column]!s} "
        f"(allowed: {allowed[0]:.2g} + {allowed[1]:.2g} x |expected|)"
    )


def _largest(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest |got - expected| where both are numbers; infinite where they can't be subtracted."""
    if got.shape != expected.shape:
        return float("inf")
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        distance = np.abs(got.astype(np.float64) - expected)
    distance = np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance))
    return float(distance.max(initial=0.0))
