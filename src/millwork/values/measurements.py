"""What was found out about one candidate: how far it is from the framework, how long it takes, what its layers cost.

The parts of :class:`millwork.values.CandidateRecord`. Times are microseconds of one call.
"""

from __future__ import annotations

from .base import Value


class Interval(Value):
    """A 95% confidence interval."""

    low: float
    high: float


class Metric(Value):
    """The task's metric on the user's labelled rows; ``difference`` = candidate - framework, paired bootstrap."""

    name: str
    framework: float
    candidate: float
    difference: Interval
    rows: int


class WorstRow(Value):
    """One of the rows that are answered worst. ``row`` counts from the first of the user's, or is below 0 for an
    adversarial one. Texts, since they may be NaN: ``inputs`` as (name, value), ``framework``'s and ``candidate``'s
    answers."""

    row: int
    inputs: tuple[tuple[str, str], ...]
    framework: tuple[str, ...]
    candidate: tuple[str, ...]
    difference: float


class Parity(Value):
    """How far a candidate is from the framework's own answers.

    ``leaf_mismatches`` counts (row, tree) pairs; None where the artifact has no trees to look at. ``wrong_values``:
    entries of the node table, read back from the artifact, that aren't the model's; None where it is the model's file.
    ``max_ulp`` is in units in the last place of float32. ``tolerance`` is what was allowed, in words. ``metrics``: all
    of the task's (``metric`` is the first), ECE among them. ``errors``: of the rows, the largest difference of an
    answer, at the quantiles 0, 1/40 … 1. ``worst``: the rows with the largest. ``finding``: what a plain form of the
    same precision would have done, in a sentence.
    """

    rows: int
    leaf_mismatches: int | None
    max_abs: float
    max_rel: float
    max_ulp: int
    decision_flips: int
    metric: Metric | None = None
    tolerance: str = ""
    coverage: str = ""
    wrong_values: int | None = None
    metrics: tuple[Metric, ...] = ()
    errors: tuple[float, ...] = ()
    worst: tuple[WorstRow, ...] = ()
    finding: str = ""


class Latency(Value):
    """One batch size; times of one call in microseconds, ``rows_per_s`` from the median. p99 takes 662 samples.
    ``quantiles``: at 0, 1/40 … 1.

    On a GPU: ``gpu_us`` its own time of a call and ``copies_us`` that of its copies, medians by CUDA events (None where
    the engine doesn't count them, or copies are within ``gpu_us``); ``gpu_state``: clocks, use and memory before and
    after, in words; ``slowed``: why the GPU was slower than it can be (power, heat), empty where it wasn't."""

    batch: int
    p50_us: float
    p99_us: float | None
    rows_per_s: float
    ci: dict[str, Interval]
    samples: int = 0
    threads: int = 1
    quantiles: tuple[float, ...] = ()
    gpu_us: float | None = None
    copies_us: float | None = None
    gpu_state: tuple[str, ...] = ()
    slowed: str = ""


class LayerCost(Value):
    """One layer of a net that a lower precision is meant for. ``error``: what lowering it alone does to the answers:
    root mean square of the difference over the standard deviation, on rows that nothing was calibrated on. ``kept``:
    it stayed fp32."""

    name: str
    operator: str
    error: float
    kept: bool = False
