"""``native``: the forest packed for our own kernel, which lies beside it: C++ and SIMD, no framework, no code a model.

The kernel and its plans are in ``compile/kernel``; the file's layout in ``native_file``. From how many rows on blocks
are faster is timed here, on the machine that builds. It goes into the artifact's parameters and never into the file,
which is the same whenever it is built.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....passes.forest import Rows
from ....passes.program import Program, encoding_tables
from ....triton_releases import Release
from ... import kernel
from ...kernel import LIBRARY
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from . import cpu_file

MODEL_FILE = "forest.packed"

TRIED = (2, 4, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of rows at which the two plans are timed."""
BUDGET_S = 0.4


@dataclass(frozen=True)
class Native:
    name: str = "native"
    precision: str = "fp32"
    rank: int = 2

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        if program.linear is not None:
            return Unsupported(reason="native: a linear model has no trees")
        library = kernel.library()
        if library is None:
            return Unsupported(
                reason="native: the kernel wasn't built, because there was no C++ compiler when millwork was installed"
            )
        shutil.copyfile(library, folder / LIBRARY)
        path = folder / MODEL_FILE
        cpu_file.write(program, path)
        decision = program.decision
        labels = {} if decision is None else {"decision": decision.how, "cut": repr(decision.cut)}
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="native_runner",
            triton_backend=kernel.TRITON_BACKEND,
            parameters={"crossover": str(crossover(path)), **labels},
            requirements=(),
            files=(LIBRARY,),
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        from ...runners.native_runner import Runner

        return Runner(folder / artifact.model_file, artifact.parameters, threads=1).leaves(rows, categories)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        held = cpu_file.read(folder / artifact.model_file)
        return _read_back(held), _must_be(program)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf


def backend() -> Backend:
    return Native()


def crossover(path: Path) -> int:
    """Rows from which on blocks are faster than rows, timed here; one more than the last that was tried where they
    never are."""
    from ...runners.native_runner import Runner

    plans = [Runner(path, {"plan": plan}, threads=1) for plan in ("rows", "blocks")]
    shape = plans[0].shape
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(TRIED[-1], shape.features)).astype(np.float32)
    categories = _some_categories(shape, rng)
    deadline = time.perf_counter() + BUDGET_S
    for n in TRIED:
        given = (rows[:n],) if categories is None else (rows[:n], categories[:n])
        took = [[], []]  # type: list[list[float]]
        for _ in range(20):
            for plan, times in zip(plans, took, strict=True):
                began = time.perf_counter()
                plan.predict(*given)
                times.append(time.perf_counter() - began)
        if min(took[1]) <= min(took[0]):
            return n
        if time.perf_counter() > deadline:
            break
    return TRIED[-1] + 1


def _some_categories(shape: Any, rng: np.random.Generator) -> Any:
    if not shape.categories:
        return None
    numbers = rng.integers(0, 100, (TRIED[-1], shape.categories))
    return numbers if shape.integers else numbers.astype(np.str_)


def _read_back(held: cpu_file.Sections) -> Table:
    """The forest as the file has it: thresholds looked up, sets written out."""
    feature, flags, test = held["feature"], held["flags"], held["test"]
    start = np.append(held["threshold_start"], 0)
    number = (feature >= 0) & (flags & cpu_file.CATEGORICAL == 0)
    threshold = np.zeros(len(feature), np.float32)
    threshold[number] = held["thresholds"][start[feature[number]] + test[number]]
    chosen = np.where(flags & cpu_file.CATEGORICAL > 0, test.astype(np.int64), -1)
    parts = [
        held["columns"],
        held["tree_start"],
        feature,
        threshold,
        chosen,
        flags & cpu_file.NAN_LEFT,
        held["left"],
        held["right"],
        held["leaf_value"],
        held["leaf_number"],
        held["tree_output"],
        held["base_scores"],
        held["set_start"],
        held["set_member"],
        held["sentinels"],
    ]
    encoders = cpu_file.SECTIONS[cpu_file.SECTIONS.index("vocabulary_start") :]
    return _one(parts, {name: held[name] for name in encoders if name in held})


def _must_be(program: Program) -> Table:
    """The same of the lowered program."""
    forest, test = program.forest, ~program.forest.is_leaf
    leaf = np.flatnonzero(~test)
    parts = [
        program.columns,
        forest.tree_start,
        forest.feature,
        np.where(test & ~forest.is_categorical, forest.threshold, np.float32(0)),
        forest.category_set,
        forest.default_left & test,
        np.where(test, forest.left, 0),
        np.where(test, forest.right, 0),
        forest.leaf_value[leaf],
        forest.leaf_number[leaf],
        forest.tree_output,
        forest.base_scores,
        forest.set_start,
        forest.set_member,
        encoding_tables(program)["sentinels"],
    ]
    given = cpu_file.sections(program)
    encoders = cpu_file.SECTIONS[cpu_file.SECTIONS.index("vocabulary_start") :]
    return _one(parts, {name: given[name] for name in encoders if name in given})


def _one(parts: list[Any], encoders: cpu_file.Sections) -> Table:
    numbers = [np.asarray(part, np.float64).ravel() for part in parts]
    tables = [np.frombuffer(encoders[name].tobytes(), np.uint8).astype(np.float64) for name in sorted(encoders)]
    return np.concatenate([*numbers, *tables])
