"""The folder that the guide's pages assume: a model in a file, rows for it, and a repository with two versions."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from millwork.compile import kernel

from . import jobs
from .jobs import Files

LABEL = "churned"
REQUESTS = 40
"""In the recorded traffic."""


def quick() -> dict[str, str]:
    """Options of ``optimize`` for a run that proves, publishes and verifies in seconds."""
    return {"backends": "onnx" if kernel.library() is None else "native", "tune_budget": "0"}


def make(folder: Path, files: Files) -> None:
    """``model.pkl``, an XGBClassifier; ``rows.parquet`` with its label; ``requests.csv``, a recorded traffic;
    ``models/``, where versions 1 (unverified) and 2 of ``churn`` were published; ``run``, what these runs left."""
    shutil.copyfile(files.clicks, folder / "model.pkl")
    files.table().rename(columns={jobs.LABEL: LABEL}).to_parquet(folder / "rows.parquet", index=False)
    times = np.cumsum(np.random.default_rng(0).exponential(0.01, REQUESTS))
    pd.DataFrame({"time": times, "batch": 1}).to_csv(folder / "requests.csv", index=False)
    with contextlib.chdir(folder):
        _publish("--triton", "none")
        _publish()
    shutil.copytree(folder / ".millwork" / "churn", folder / "run")


def _publish(*words: str) -> None:
    short = [word for name, value in quick().items() for word in (f"--{name.replace('_', '-')}", value)]
    said = jobs.millwork(
        "optimize",
        "model.pkl",
        "--data",
        "rows.parquet",
        "--label",
        LABEL,
        "--repository",
        "models",
        "--name",
        "churn",
        *short,
        *words,
    )
    assert said.code == 0, said.err
