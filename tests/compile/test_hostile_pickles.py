"""Hostile pickles: none is executed, and each ends in a ModelError or in a model without harm."""

from __future__ import annotations

import gzip
import importlib.util
import io
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import catboost as cb
import joblib
import numpy as np
import pytest
import xgboost as xgb

from millwork.compile.frontends.pickles import PickledModel, read_pickled
from millwork.errors import ModelError


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


hostile = _beside("hostile_pickles")
NAMES = [attack.name for attack in hostile.everything("/canary")]

LOADER = """
import os, sys, pickle, joblib
from pathlib import Path
folder, canary = Path(sys.argv[1]), Path(sys.argv[2])
for path in sorted(folder.iterdir()):
    try:
        loaded = joblib.load(path) if path.suffix == ".joblib" else pickle.loads(path.read_bytes())
        if hasattr(loaded, "wait"):
            loaded.wait()
    except BaseException as error:
        pass
    if canary.exists():
        canary.unlink()
        print(path.stem)
"""


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("canary") / "sings"


@pytest.fixture(scope="module")
def attacks(canary: Path) -> list[hostile.Attack]:
    return list(hostile.everything(str(canary)))


def outcome_of(payload: bytes) -> PickledModel | ModelError:
    try:
        return read_pickled(payload, "m.pkl")
    except ModelError as error:
        return error


def test_there_are_attacks_of_each_kind() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert len(NAMES) >= 49


def test_the_live_attacks_do_execute_under_pickle(attacks: list[hostile.Attack], canary: Path, tmp_path: Path) -> None:
    """Otherwise the next test would show nothing."""
    live = [attack for attack in attacks if attack.live]
    for number, attack in enumerate(live):
        suffix = ".joblib" if attack.with_joblib else ".pkl"
        (tmp_path / f"{number:03}{suffix}").write_bytes(attack.payload)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADER, str(tmp_path), str(canary)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    sang = {int(line) for line in done.stdout.split() if line.isdigit()}
    assert [attack.name for number, attack in enumerate(live) if number not in sang] == []
    assert len(live) >= 30


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_no_attack_executes_or_lasts(number: int, attacks: list[hostile.Attack], canary: Path) -> None:
    modules = set(sys.modules)
    outcome = outcome_of(attacks[number].payload)
    assert not canary.exists()
    assert {name for name in set(sys.modules) - modules if not name.startswith("encodings.")} == set()
    if isinstance(outcome, ModelError):
        assert outcome.message.startswith("m.pkl: ")
        assert str(outcome).replace("\n", "").isprintable()
        assert len(str(outcome)) < 1000
    else:
        # an honest model with something else beside it
        assert outcome.payload.startswith(b"{L")


def test_mutated_pickles_give_a_model_or_a_model_error() -> None:
    rng = np.random.default_rng(17)
    rows = rng.normal(size=(40, 2)).astype(np.float32)
    classifier = xgb.XGBClassifier(n_estimators=1, max_depth=1, n_jobs=1).fit(rows, (rows[:, 0] > 0).astype(int))
    classifier.other = rows[:2], np.array(["a", None], object)
    boosted = cb.CatBoostRegressor(iterations=1, depth=1, verbose=0, allow_writing_files=False).fit(rows, rows[:, 0])
    plain, packed = io.BytesIO(), io.BytesIO()
    joblib.dump(classifier, plain)
    joblib.dump(classifier, packed, compress=3)
    written = [*(pickle.dumps(model, protocol) for model in (classifier, boosted) for protocol in (0, 2, 4, 5))]
    written += [plain.getvalue(), packed.getvalue(), gzip.compress(pickle.dumps(boosted))]
    refused = 0
    for turn in range(1100):
        payload = bytearray(written[turn % len(written)])
        handle = payload.find(b"Config")
        # half of them outside the native model, where the opcodes are
        end = handle if turn % 2 and handle > 0 else len(payload)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(end))
            match rng.integers(3):
                case 0:
                    payload[at] = int(rng.integers(256))
                case 1:
                    del payload[at : at + int(rng.integers(1, 9))]
                case _:
                    payload[at:at] = rng.bytes(int(rng.integers(1, 9)))
        refused += isinstance(outcome_of(bytes(payload)), ModelError)
    assert refused > 300
