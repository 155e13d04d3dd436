"""Small jobs for whole runs: models in files with their rows, and the command line as a user types it."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import xgboost as xgb

COLUMNS = list("abcde")
LABEL = "bought"
QUICK = ("--triton", "none", "--backends", "onnx", "--traffic", "batch=1")
"""For a run whose server, and whose choice among candidates, isn't the point."""

SCREEN = 24
"""Lines that a message may take."""


@dataclass(frozen=True)
class Files:
    """``clicks`` a pickled XGBClassifier that stopped early, ``again`` the same trained on; ``prices`` a CatBoost
    regressor's .cbm; ``rows`` features and label, a tenth of the features missing."""

    folder: Path

    @property
    def clicks(self) -> Path:
        return self.folder / "clicks.pkl"

    @property
    def again(self) -> Path:
        return self.folder / "again.pkl"

    @property
    def prices(self) -> Path:
        return self.folder / "prices.cbm"

    @property
    def rows(self) -> Path:
        return self.folder / "rows.parquet"

    def table(self) -> pd.DataFrame:
        return pd.read_parquet(self.rows)

    def features(self) -> pd.DataFrame:
        return self.table()[COLUMNS]


def make(folder: Path) -> Files:
    """Train and write them all."""
    files = Files(folder)
    frame = _rows()
    frame.to_parquet(files.rows, index=False)
    files.clicks.write_bytes(pickle.dumps(classifier(frame)))
    files.again.write_bytes(pickle.dumps(classifier(frame, learning_rate=0.3)))
    regressor(frame).save_model(str(files.prices))
    return files


def classifier(frame: pd.DataFrame, *, learning_rate: float = 0.5) -> xgb.XGBClassifier:
    model = xgb.XGBClassifier(
        n_estimators=40, max_depth=3, learning_rate=learning_rate, early_stopping_rounds=3, n_jobs=1, random_state=0
    )
    first, last = frame.iloc[:300], frame.iloc[300:]
    return model.fit(first[COLUMNS], first[LABEL], eval_set=[(last[COLUMNS], last[LABEL])], verbose=False)


def regressor(frame: pd.DataFrame) -> cb.CatBoostRegressor:
    model = cb.CatBoostRegressor(iterations=20, depth=3, verbose=0, allow_writing_files=False, thread_count=1)
    return model.fit(frame[COLUMNS], frame[COLUMNS].fillna(1.0).sum(axis=1))


def _rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(400, len(COLUMNS))).astype(np.float32), columns=COLUMNS)
    frame[rng.random(frame.shape) < 0.1] = np.nan
    return frame.assign(**{LABEL: (frame.fillna(0.5).sum(axis=1) + rng.normal(size=400) > 0.5).astype(int)})


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """stdout, which is one JSON document."""
        return json.loads(self.out)


def millwork(*words: str | Path) -> Said:
    """``millwork WORDS``, in this process: all but the process itself is as from a shell."""
    from millwork.cli import app

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.run(app.millwork, [str(word) for word in words])
    return Said(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Desk:
    """A folder to work in, with a run directory and a repository."""

    folder: Path
    files: Files

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def repository(self) -> Path:
        return self.folder / "served" / "models"

    def optimize(self, model: Path, *words: str | Path, quick: tuple[str, ...] = QUICK) -> Said:
        """``millwork optimize MODEL`` with the rows, quickly unless something else is said; last words count."""
        return millwork(
            "optimize",
            model,
            "--data",
            self.files.rows,
            "--repository",
            self.repository,
            "--run-dir",
            self.run_dir,
            *quick,
            *words,
        )


def refused(said: Said, code: int, *phrases: str) -> None:
    """One message that fits a screen, no traceback, nothing on stdout, and this exit code."""
    assert said.code == code, said.err
    for phrase in phrases:
        assert phrase in said.err
    assert "Traceback" not in said.err
    lines = said.err.splitlines()
    assert sum(line.lower().startswith("error:") for line in lines) == 1, said.err
    assert len(lines) <= SCREEN, said.err
    assert said.out == ""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, with what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def litter(*folders: Path) -> list[Path]:
    """What a run must not leave below these: half-made stages, unpublished versions, files half written."""
    return list(_litter(folders))


def _litter(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            inside = path.parent.name in ("staging", "trash") and path.parent.parent.name.endswith(".millwork")
            if ".tmp-" in path.name or inside:
                yield path
