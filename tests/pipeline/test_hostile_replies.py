"""A run whose step replies well and leaves something else than its reply says: the step's failure, told clearly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import xgboost

from millwork.errors import MillworkError, ModelError, ParityError
from millwork.executors import LocalExecutor
from millwork.pipeline import optimize as pipeline
from millwork.pipeline.options import Options
from millwork.validators import latency, oracle
from millwork.worker import Done

Tamper = Callable[[Path, Any], Any]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Of a small run, whose stages the tests share."""
    folder = tmp_path_factory.mktemp("run")
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    xgboost.XGBRegressor(n_estimators=3).fit(rows, rows[:, 0]).save_model(folder / "model.ubj")
    return Options(
        model=str(folder / "model.ubj"),
        backends="onnx",
        traffic="batch=1",
        triton="none",
        dry_run=True,
        run_dir=str(folder / "run"),
    )


def tampered(step: str, tamper: Tamper, options: Options, monkeypatch: pytest.MonkeyPatch) -> MillworkError | None:
    """How the run ends in which ``step`` leaves and replies what ``tamper`` makes of its folder and its reply."""
    honest = LocalExecutor.run

    def run(self: LocalExecutor, name: str, *words: Any, folder: Path, **more: Any) -> Any:
        done = honest(self, name, *words, folder=folder, **more)
        if not name.endswith(f":{step}"):
            return done
        assert isinstance(done, Done), done
        return msgspec.structs.replace(done, value=tamper(folder, done.value) or done.value)

    monkeypatch.setattr(LocalExecutor, "run", run)
    try:
        return pipeline.optimize(options)[1]
    except MillworkError as error:
        return error


def without(name: str) -> Tamper:
    return lambda folder, _: (folder / name).unlink()


def native(name: str) -> Tamper:
    def tamper(_: Path, reply: Any) -> Any:
        found = msgspec.structs.replace(reply.signature.oracle, native_file=name)
        return msgspec.structs.replace(reply, signature=msgspec.structs.replace(reply.signature, oracle=found))

    return tamper


def built(**changes: Any) -> Tamper:
    return lambda _, reply: msgspec.structs.replace(reply, artifact=msgspec.structs.replace(reply.artifact, **changes))


def samples(**arrays: Any) -> Tamper:
    return lambda folder, _: np.savez(folder / "samples.npz", **arrays)


TIMES = np.full((latency.SAMPLES // latency.BLOCK, latency.BLOCK), 3.0)
OWN = "it named {}, which isn't a file of its own"
READ = "while it was measured: what it measured can't be read: samples.npz: "


@pytest.mark.parametrize(
    ("step", "tamper", "kind", "told"),
    [
        ("load", native("/etc/passwd"), ModelError, OWN.format("'/etc/passwd'")),
        ("load", native("../../../model.ubj"), ModelError, OWN.format("'../../../model.ubj'")),
        ("load", native("nothing.json"), ModelError, "it left no nothing.json"),
        ("load", without("program.npz"), ModelError, "it left no program.npz"),
        ("lower", without("lowered.npz"), ModelError, "it left no lowered.npz"),
        ("lower", without("leaf_map.npy"), ModelError, "it left no leaf_map.npy"),
        ("rows", without("rows.npy"), ModelError, "it left no rows.npy"),
        ("build", built(model_file="/etc/passwd"), ParityError, OWN.format("'/etc/passwd'")),
        ("build", built(files=("../key.json",)), ParityError, OWN.format("'../key.json'")),
        ("build", built(files=("nothing",)), ParityError, "it left no nothing"),
        ("build", built(backend="../x"), ParityError, "it built another candidate than it was asked for"),
        ("measure", without("samples.npz"), ParityError, READ),
        ("measure", lambda folder, _: (folder / "samples.npz").write_bytes(b"PK"), ParityError, READ),
        ("measure", samples(**{"onnx-fp32@1": TIMES * 0}), ParityError, READ),
        ("measure", samples(**{"other@1": TIMES}), ParityError, "it measured something else than it was asked"),
        (
            "measure",
            lambda _, reply: msgspec.structs.replace(reply, latency={}),
            ParityError,
            "it measured something else than it was asked",
        ),
    ],
)
def test_what_isnt_there_is_the_steps_failure(
    step: str, tamper: Tamper, kind: type[MillworkError], told: str, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = tampered(step, tamper, options, monkeypatch)
    assert type(error) is kind
    assert told in str(error)


@pytest.mark.parametrize("name", [oracle.ANSWERS_FILE, oracle.LEAVES_FILE])
@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"\x93NUMPY\x01")])
def test_answers_that_arent_there_are_the_frameworks_failure(
    name: str, harm: Callable[[Path], object], options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = oracle.worker.run_script

    def run(*words: Any, folder: Path, **more: Any) -> Any:
        done = honest(*words, folder=folder, **more)
        harm(folder / name)
        return done

    monkeypatch.setattr(oracle.worker, "run_script", run)
    said = f"^xgboost itself, asked to predict with the model, didn't write a readable {name}"
    with pytest.raises(ModelError, match=said):
        pipeline.optimize(msgspec.structs.replace(options, run_dir=f"{options.run_dir}-oracle"))


def test_the_same_run_left_alone_is_well(options: Options) -> None:
    found, error = pipeline.optimize(options)
    assert error is None
    assert found.winner is not None
