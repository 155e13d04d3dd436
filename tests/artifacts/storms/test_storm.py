"""A short storm, without a Triton: nothing is lost, and nothing serves that wasn't proved. ``make faults`` has whole
ones, with a Triton, its clients, and an object store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))

from models.jobs import Desk, Said
from storms import prepare
from storms.known import DAMAGED, SIGNED, sha256

CAMPAIGN = Path(__file__).parent / "campaign.py"
SEED = 20


@pytest.fixture
def runs(finished: Desk, tmp_path: Path) -> Path:
    """Run directories of both models of ``finished``, each under two names; no stage of theirs is made again."""
    folder = tmp_path / "runs"
    contents = {}
    for name in ("clicks", SIGNED):
        for variant, model in (("clicks", finished.files.clicks), ("again", finished.files.again)):
            run = folder / f"{name}-{variant}"
            shutil.copytree(finished.run_dir, run)
            said: Said = finished.optimize(model, "--name", name, "--dry-run", "--run-dir", run)
            assert said.code == 0, said.err
            contents[sha256(prepare.model_file(prepare.chosen(run)))] = variant
        prepare.wrong_ones(folder, name, "clicks", (DAMAGED,))
    nobody = np.zeros((2, 2), np.float32)
    prepare.write(folder, ("clicks", SIGNED), contents, nobody, {"clicks": nobody, "again": nobody})
    return folder


def test_in_a_storm_nothing_is_lost_and_nothing_serves_that_was_not_proved(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    counts = ("--publications", "25", "--kills", "12", "--looks", "150")
    words = ("--storms", "bare", "--seed", str(SEED), "--runs", runs, "--out", out, *counts)
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *map(str, words)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert found["violations"] == 0
    assert found["all"]["publications"] >= 25
    assert found["all"]["sigkills"] >= 12
    assert found["all"]["looks"] >= 150
    assert found["all"]["wrong_refused"] > 0
