"""A Treelite checkpoint by nvForest, RAPIDS' FIL: the engine of Triton's fil backend from 25.09 on. Standalone: numpy,
treelite, nvforest and (on a GPU) cupy.

Parameters: ``answer`` (``binary``: two columns from one; anything else as nvForest gives it), ``device`` (``gpu``, or
``cpu``: without it ``gpu``, and there is no falling back), and as nvForest has them ``layout`` (``depth_first``,
``breadth_first``, ``layered``), ``chunk_size`` (rows of a block: on a GPU a power of 2 up to 32) and ``align_bytes``
(what trees are padded to). Thresholds, leaves and sums are float32 (``precision="single"``), as the checkpoint's are.

``last_us``: of the last call on a GPU, by CUDA events: ``in``, ``run``, ``out``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import nvforest
import treelite

LAYOUTS = ("depth_first", "breadth_first", "layered")
CHUNKS = {"gpu": (1, 2, 4, 8, 16, 32), "cpu": (1, 8, 64, 512)}
ALIGNMENTS = {"gpu": (0, 128), "cpu": (0, 64)}
"""What is tried: nvForest's own optimize() tries the first two, at the alignment that it was given."""
FLOAT_HOLDS = 1 << 24
"""Leaves come as float32, which holds whole numbers up to it."""


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.answer = parameters["answer"]
        self.device = parameters.get("device", "gpu")
        self.version = nvforest.__version__
        self.last_us: dict[str, float] = {}
        self.model = nvforest.load_from_treelite_model(
            treelite.Model.deserialize(str(model_file)),
            device=self.device,
            precision="single",
            layout=parameters.get("layout", LAYOUTS[0]),
            default_chunk_size=int(parameters["chunk_size"]) if "chunk_size" in parameters else None,
            align_bytes=int(parameters["align_bytes"]) if "align_bytes" in parameters else None,
        )
        self._predict = answering(self.model)

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F] -> float32 [N, K]."""
        if len(rows) == 0:
            return self.predict(np.zeros((1, rows.shape[1]), np.float32))[:0]
        out = np.asarray(self._asked(self._predict, rows), np.float32).reshape(len(rows), -1)
        return np.hstack([1 - out, out]) if self.answer == "binary" else out

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """Node numbers within each tree, int32 [N, T]."""
        found = np.asarray(self._asked(self.model.apply, rows))
        if found.size and found.max() >= FLOAT_HOLDS:
            raise ValueError(f"a tree has more than {FLOAT_HOLDS:,} nodes: nvForest's float32 can't name its leaves")
        return found.astype(np.int32).reshape(len(rows), -1)

    def _asked(self, function: Any, rows: Any) -> Any:
        rows = np.ascontiguousarray(rows, np.float32)
        if self.device == "cpu":
            return function(rows)
        import cupy

        marks = [cupy.cuda.Event() for _ in range(4)]
        marks[0].record()
        given = cupy.asarray(rows, blocking=True)
        marks[1].record()
        answers = function(given)
        marks[2].record()
        out = cupy.asnumpy(answers)
        marks[3].record()
        marks[3].synchronize()
        took = (cupy.cuda.get_elapsed_time(a, b) * 1e3 for a, b in itertools.pairwise(marks))
        self.last_us = dict(zip(("in", "run", "out"), took, strict=True))
        return out


def answering(model: Any) -> Any:
    """What gives a model's numbers: of a classifier, predict gives classes."""
    return getattr(model, "predict_proba", None) or model.predict


def tuned(model_file: Path, rows: Any, batches: Sequence[int], device: str, seconds: float = 2.0) -> dict[str, str]:
    """The ``layout``, ``chunk_size`` and ``align_bytes`` that are fastest over ``batches`` sizes of ``rows`` float32
    [N, F], N at least the largest: each size counts alike, by its best time of a call on device-resident rows (on a
    GPU), rounds over all candidates, as nvForest's optimize() does for one size and one alignment."""
    model = treelite.Model.deserialize(str(model_file))
    given = {size: np.ascontiguousarray(rows[:size], np.float32) for size in batches}
    if device == "gpu":
        import cupy

        given = {size: cupy.asarray(part) for size, part in given.items()}
    kinds = {
        (layout, align): nvforest.load_from_treelite_model(
            model, device=device, precision="single", layout=layout, align_bytes=align
        )
        for layout, align in itertools.product(LAYOUTS, ALIGNMENTS[device])
    }
    tried = list(itertools.product(kinds, CHUNKS[device], given))
    best = dict.fromkeys(tried, float("inf"))
    until = time.perf_counter() + seconds
    rounds = 0
    while rounds < 2 or time.perf_counter() < until:  # the first round warms up
        for kind, chunk, size in tried:
            start = time.perf_counter()
            answering(kinds[kind])(given[size], chunk_size=chunk)  # ends with the stream's end
            if rounds:
                best[kind, chunk, size] = min(best[kind, chunk, size], time.perf_counter() - start)
        rounds += 1
    fastest = {size: min(took for (_, _, of), took in best.items() if of == size) for size in given}
    costs = {
        (kind, chunk): sum(best[kind, chunk, size] / fastest[size] for size in given)
        for kind, chunk in itertools.product(kinds, CHUNKS[device])
    }
    (layout, align), chunk = min(costs, key=lambda one: costs[one])
    return {"layout": layout, "chunk_size": str(chunk), "align_bytes": str(align)}
