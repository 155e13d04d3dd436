"""The forests that trees.py times: how each is made, once, into benchmarks/.models, and its artifacts, each time anew.

Synthetic ones are regressions on normal numbers, so that an engine's answer is its margin and nothing but trees is
timed. What they learn has noise enough to fill trees of any depth; 256 bins give a feature up to 255 thresholds.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from millwork.compile import compile_steps
from millwork.compile.backends.native import cpu as native_backend
from millwork.compile.runners import native_runner

HERE = Path(__file__).resolve().parent
MODELS = HERE / ".models"
ROWS = 65_536
LEARNT = 8_000
RELEASE = "25.12"


@dataclass(frozen=True)
class Shape:
    """``depth`` 0: leaf-wise, 255 leaves. ``features`` 0: the demo's flights."""

    framework: str
    trees: int
    depth: int
    features: int
    nan: bool = False

    @property
    def name(self) -> str:
        if not self.features:
            return f"{self.framework} flights"
        depth = str(self.depth) if self.depth else "255 leaves"
        missing = " NaN" if self.nan else ""
        return f"{self.framework} {self.trees}x{depth}x{self.features}{missing}"


def _xgboost(*shapes: tuple[int, int, int]) -> tuple[Shape, ...]:
    return tuple(Shape("xgboost", *shape) for shape in shapes)


DEFAULT = (
    *_xgboost((500, 6, 50)), Shape("xgboost", 500, 6, 50, nan=True),
    *_xgboost((100, 4, 20), (500, 4, 50), (500, 8, 50), (500, 10, 20), (100, 10, 500), (2000, 6, 50), (2000, 8, 50),
              (2000, 10, 500), (500, 0, 50)),
    Shape("xgboost", 300, 6, 0),
    *(Shape("catboost", trees, depth, 50) for trees, depth in product((500, 2000), (6, 8))),
    Shape("catboost", 300, 6, 0),
)  # fmt: skip
CROSS = tuple(
    Shape("xgboost", trees, depth, features, nan)
    for trees, depth, features, nan in product((100, 500, 2000), (4, 6, 8, 10), (20, 50, 500), (False, True))
)
FULL = (*DEFAULT, *(shape for shape in CROSS if shape not in DEFAULT))
TINY = (Shape("xgboost", 12, 3, 5, nan=True), Shape("catboost", 12, 3, 5))
"""What the test takes."""


@dataclass(frozen=True)
class Forest:
    """A forest that was made: ``file`` says where its parts are (the workers read it)."""

    shape: Shape
    file: Path
    classifier: bool
    facts: dict[str, int]
    """Trees, nodes, the deepest tree, features, and rows from which on the kernel takes blocks."""


def make(shape: Shape, loop: Path, compile_seconds: float, models: Path = MODELS) -> Forest:
    """The model, trained where it isn't there yet, and every artifact of ours."""
    folder = models / "trees" / shape.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    given, rows = (_flights if not shape.features else _synthetic)(shape, folder)
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    with contextlib.chdir(made):
        loaded = compile_steps.load(compile_steps.LoadRequest(path=str(given)))
        compile_steps.lower(compile_steps.LowerRequest(program="program.npz"))
    native = made / loaded.signature.oracle.native_file
    for backend in ("native", "onnx", "fil"):
        _build(backend, made, native, loaded.signature)
    runner = native_runner.Runner(made / "native" / "forest.packed", {}, 1)
    file = made / "forest.json"
    parts = {
        "framework": shape.framework,
        "classifier": not shape.features,
        "folder": folder,
        "rows": rows,
        "loop": loop,
        "model": native,
        "onnx": made / "onnx" / "model.onnx",
        "treelite": made / "fil" / "checkpoint.tl",
        "native": made / "native" / "forest.packed",
        "native_runner": native_runner.__file__,
        "compile_seconds": compile_seconds,
    }
    file.write_text(json.dumps(parts, default=str))
    facts = {
        "trees": loaded.trees,
        "nodes": loaded.nodes,
        "depth": loaded.depth,
        "features": runner.shape.features,
        "crossover": native_backend.crossover(made / "native" / "forest.packed"),
    }
    return Forest(shape=shape, file=file, classifier=not shape.features, facts=facts)


def _build(backend: str, made: Path, native: Path, signature: Any) -> None:
    (made / backend).mkdir()
    request = compile_steps.BuildRequest(
        backend=backend,
        lowered=str(made / compile_steps.LOWERED_FILE),
        native=str(native),
        signature=signature,
        release=RELEASE,
    )
    with contextlib.chdir(made / backend):
        reply = compile_steps.build(request)
    if reply.artifact is None:
        raise SystemExit(reply.unsupported)


def _synthetic(shape: Shape, folder: Path) -> tuple[Path, Path]:
    rows = folder.parent / f"rows-{shape.features}{'-nan' if shape.nan else ''}.npy"
    if not rows.exists():
        np.save(rows, _numbers(ROWS, shape, seed=1))
    model = folder / ("model.ubj" if shape.framework == "xgboost" else "model.cbm")
    if not model.exists():
        print(f"training {shape.name} …", flush=True)
        known = _numbers(LEARNT, shape, seed=2)
        x = np.nan_to_num(known)
        label = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + x[:, 3] + np.random.default_rng(3).normal(size=LEARNT)
        (_train_xgboost if shape.framework == "xgboost" else _train_catboost)(shape, known, label, model)
    return model, rows


def _numbers(n: int, shape: Shape, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, shape.features), np.float32)
    if shape.nan:
        rows[rng.random(rows.shape, np.float32) < 0.1] = np.nan
    return rows


def _train_xgboost(shape: Shape, rows: Any, label: Any, model: Path) -> None:
    import xgboost

    settings: dict[str, Any] = {
        "max_depth": shape.depth,
        "tree_method": "hist",
        "max_bin": 256,
        "subsample": 0.5,
        "learning_rate": 0.05,
        "colsample_bytree": min(1.0, 25 / shape.features),
        "nthread": 1,
    }
    if not shape.depth:
        settings |= {"grow_policy": "lossguide", "max_leaves": 255}
    xgboost.train(settings, xgboost.DMatrix(rows, label=label), shape.trees).save_model(model)


def _train_catboost(shape: Shape, rows: Any, label: Any, model: Path) -> None:
    import catboost

    catboost.CatBoostRegressor(
        iterations=shape.trees,
        depth=shape.depth,
        learning_rate=0.05,
        rsm=0.5,
        bootstrap_type="Bernoulli",
        subsample=0.5,
        boosting_type="Plain",
        thread_count=2,
        verbose=0,
        allow_writing_files=False,
    ).fit(rows, label).save_model(str(model))


def _flights(shape: Shape, folder: Path) -> tuple[Path, Path]:
    """The demo's models of real flights, and flights that they didn't learn from, the first ones twice."""
    import candidates
    import pandas as pd

    own = dict(zip(("xgboost", "catboost"), candidates.models(), strict=True))[shape.framework]
    rows = folder.parent / "rows-flights.npy"
    if not rows.exists():
        table = pd.read_parquet(candidates.MODELS / "rows.parquet")[candidates.demo().FEATURES]
        np.save(rows, np.resize(table.to_numpy(np.float32), (ROWS, table.shape[1])))
    return own, rows
