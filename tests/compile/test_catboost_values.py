"""What CatBoost makes of values, classes and targets: the model that was trained is asked, not its file again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from models.catboost_models import QUIET
from models.gate import gate

from millwork import api
from millwork.compile.frontends.catboost import information
from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.loaded_model import LoadedModel
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.passes.program import run
from millwork.storage import tables
from millwork.validators.rows import given as givens
from millwork.validators.rows.given import Given

SMALL: dict[str, Any] = {**QUIET, "iterations": 6}
PLACE = np.random.default_rng(0).integers(0, 3, 200)
NUMBER = np.random.default_rng(1).normal(size=200)
PICKED = {
    "bool": pd.Series(PLACE == 0),
    "objects": pd.Series(np.array([True, False], object)[PLACE % 2]),
    "boolean": pd.array(PLACE == 0, dtype="boolean"),
    "categories of booleans": pd.Categorical(PLACE == 0),
    "categories of integers": pd.Categorical(PLACE * 7),
    "Int64": pd.array(PLACE, dtype="Int64"),
    "uint64": pd.Series(PLACE.astype(np.uint64) + np.uint64(2**63)),
    "NULs": pd.Series(np.array(["a\0", "a", "\0"], object)[PLACE]),
    "categories with NULs": pd.Categorical(np.array(["a\0", "a", "a\0\0"], object)[PLACE]),
    "blanks": pd.Series(np.array([" a", "a ", ""], object)[PLACE]),
    "long": pd.Series(np.array(["x" * 100_000, "x" * 100_000 + "\0", "x"], object)[PLACE]),
}


def answers(made: LoadedModel, rows: Path, folder: Path) -> Any:
    """The program's, of the rows as they are read, kept in a file and read again."""
    found = tables.read(rows, made.signature.features)
    givens.save(Given(found.rows, found.categories), folder)
    return run(made.program, *givens.load(folder).parts)


@pytest.mark.parametrize("one_hot", [2, 200], ids=["CTRs", "one-hot"])
@pytest.mark.parametrize("name", PICKED)
def test_a_value_is_the_category_that_catboost_takes_it_for(name: str, one_hot: int, tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": PICKED[name], "z": NUMBER})
    label = ((PLACE == 0) ^ (NUMBER > 1)).astype(int)
    model = cb.CatBoostClassifier(**{**SMALL, "one_hot_max_size": one_hot}, cat_features=["c"]).fit(frame, label)
    model.save_model(tmp_path / "model.cbm")
    live, _ = api._rows(frame, None, tmp_path)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for rows in (Path(str(live)), tmp_path / "rows.csv"):
        made = read(tmp_path / "model.cbm", tmp_path, LoadOptions(data=rows))
        np.testing.assert_allclose(answers(made, rows, tmp_path), model.predict_proba(frame), rtol=1e-12)


def test_truth_values_that_were_text_in_training_are_told_from_booleans(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": PLACE == 0, "z": NUMBER})
    words = frame.assign(c=frame["c"].astype(str))
    model = cb.CatBoostClassifier(**SMALL, cat_features=["c"]).fit(words, (PLACE == 0).astype(int))
    model.save_model(tmp_path / "model.cbm")
    frame.to_parquet(tmp_path / "rows.parquet")
    made = read(tmp_path / "model.cbm", tmp_path, LoadOptions(data=tmp_path / "rows.parquet"))
    wanted = model.predict_proba(frame)
    np.testing.assert_allclose(answers(made, tmp_path / "rows.parquet", tmp_path), wanted, rtol=1e-12)
    (note,) = made.signature.notes
    assert note.startswith("no row has a value of 'c' that the model asks for: '0' is none.")


def test_rows_with_unknown_categories_are_told_by_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": np.array(["a", "b", "d"])[PLACE], "z": NUMBER})
    model = cb.CatBoostClassifier(**SMALL, cat_features=["c"]).fit(frame, (PLACE == 0).astype(int))
    model.save_model(tmp_path / "model.cbm")
    frame.loc[:49, "c"] = ["new"] * 45 + ["newer"] * 5
    frame.to_parquet(tmp_path / "rows.parquet")
    made = read(tmp_path / "model.cbm", tmp_path, LoadOptions(data=tmp_path / "rows.parquet"))
    assert set(made.signature.features.categories["c"]) == {"a", "b", "d"}
    assert tables.read(tmp_path / "rows.parquet", made.signature.features).notes == (
        "25.0% of the rows (50 of 200) hold a category of 'c' that the model does not know, such as 'new'",
    )
    wanted = model.predict_proba(frame)
    np.testing.assert_allclose(answers(made, tmp_path / "rows.parquet", tmp_path), wanted, rtol=1e-12)


def test_a_category_with_a_nul_is_served_by_a_backend_that_keeps_it(tmp_path: Path) -> None:
    """Triton's onnxruntime backend ends a text at its first NUL."""
    for name, word in (("with", "a\0"), ("without", "b")):
        frame = pd.DataFrame({"c": np.array([word, "a"], object)[PLACE % 2], "z": NUMBER})
        model = cb.CatBoostClassifier(**SMALL, cat_features=["c"]).fit(frame, PLACE % 2)
        model.save_model(tmp_path / "model.cbm")
        frame.to_parquet(tmp_path / "rows.parquet")
        judge = gate(tmp_path / "model.cbm", tmp_path / name, data=tmp_path / "rows.parquet", limit=200)
        built = judge.build("onnx", tmp_path / f"{name}-onnx").artifact
        assert built is not None
        assert built.triton_backend == ("python" if name == "with" else "onnxruntime")
        assert judge.check(built, tmp_path / f"{name}-onnx").passed


LABELS: dict[str, tuple[list[Any], tuple[str, ...]]] = {
    "integers": ([0, 1, 2], ("0", "1", "2")),
    "negative": ([-1, 7, 30], ("-1", "7", "30")),
    "floats": ([-1.5, 0.0, 2.0], ("-1.5", "0.0", "2.0")),
    "text": (["x", "y", "z"], ("x", "y", "z")),
}


@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("name", LABELS)
def test_a_class_without_training_rows_has_its_answer_and_its_label(name: str, absent: int, tmp_path: Path) -> None:
    names, labels = LABELS[name]
    loss = "MultiClassOneVsAll" if absent == 1 else "MultiClass"
    there = [label for k, label in enumerate(names) if k != absent]
    frame = pd.DataFrame({"a": NUMBER, "b": PLACE.astype(float)})
    model = cb.CatBoostClassifier(**{**SMALL, "loss_function": loss}, class_names=names)
    model.fit(frame, np.array(there)[(NUMBER > 0).astype(int)])
    for file in ("model.cbm", "model.json"):
        model.save_model(tmp_path / file, format=file.removeprefix("model."))
        made = read(tmp_path / file, tmp_path)
        assert made.signature.output.labels == labels
        wanted = model.predict_proba(frame)
        assert wanted.shape == (200, 3)
        got = run(made.program, frame.to_numpy(np.float32))
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-300)
    with pytest.raises(ModelError, match=f"class {labels[absent]} was in no row of the training"):
        read(tmp_path / "model.cbm", tmp_path, LoadOptions(margin=True))


def test_classes_that_only_their_count_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": NUMBER})
    model = cb.CatBoostClassifier(**SMALL, loss_function="MultiClass", classes_count=4)
    model.fit(frame, np.where(NUMBER > 0, 3, 1)).save_model(tmp_path / "model.cbm")
    made = read(tmp_path / "model.cbm", tmp_path)
    assert made.signature.output.labels == ("0", "1", "2", "3")
    got = run(made.program, frame.to_numpy(np.float32))
    np.testing.assert_allclose(got, model.predict_proba(frame), rtol=1e-12, atol=1e-300)


def test_a_class_without_training_rows_passes_the_gate(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": NUMBER, "b": PLACE.astype(float)})
    model = cb.CatBoostClassifier(**SMALL, loss_function="MultiClass", class_names=[0, 1, 2])
    model.fit(frame, np.where(NUMBER > 0, 2, 0)).save_model(tmp_path / "model.cbm")
    judge = gate(tmp_path / "model.cbm", tmp_path / "gate", limit=300)
    for backend in ("onnx", "native", "tensor", "fil"):
        built = judge.build(backend, tmp_path / backend)
        assert built.artifact is not None, built.unsupported
        verdict = judge.check(built.artifact, tmp_path / backend)
        assert verdict.passed, verdict.reason
        assert verdict.parity.max_abs < 1e-6


# ── several targets ───────────────────────────────────────────────────────────────────────────────────────

_TWO = ["Borders:TargetBorderCount=1", "Borders:TargetBorderCount=4"]
TARGETS: dict[str, dict[str, Any]] = {
    "two targets": {"loss_function": "MultiRMSE"},
    "two targets, Lossguide": {"loss_function": "MultiRMSE", "grow_policy": "Lossguide"},
    "two labels": {"loss_function": "MultiLogloss"},
    "one target with two sets of borders": {"simple_ctr": _TWO, "combinations_ctr": _TWO},
}


def _of_targets(settings: dict[str, Any], folder: Path) -> tuple[cb.CatBoost, pd.DataFrame]:
    """A model and its rows, saved in ``folder``."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.integers(0, 12, 300), "b": rng.integers(-3, 12, 300), "z": rng.normal(size=300)})
    score = (frame["a"] % 5 - 2 + frame["b"] * 0.3).to_numpy()
    label = np.c_[score, rng.normal(size=300) - score]
    loss = str(settings.get("loss_function", "RMSE"))
    label = (label > 0).astype(int) if loss == "MultiLogloss" else label if loss == "MultiRMSE" else score
    model = cb.CatBoost({**SMALL, "depth": 5, "cat_features": ["a", "b"], **settings}).fit(frame, label)
    model.save_model(folder / "model.cbm")
    model.save_model(folder / "model.json", format="json", pool=cb.Pool(frame, cat_features=["a", "b"]))
    frame.to_parquet(folder / "rows.parquet")
    return model, frame


@pytest.mark.parametrize("name", TARGETS)
def test_a_category_is_counted_for_each_target_by_itself(name: str, tmp_path: Path) -> None:
    model, frame = _of_targets(TARGETS[name], tmp_path)
    data = tmp_path / "rows.parquet"
    made = read(tmp_path / "model.cbm", tmp_path, LoadOptions(data=data, margin=True))
    wanted = np.asarray(model.predict(frame, prediction_type="RawFormulaVal")).reshape(300, -1)
    np.testing.assert_allclose(answers(made, data, tmp_path), wanted, rtol=1e-9, atol=1e-12)
    with pytest.raises(ModelError, match="CatBoost's JSON has lost tables of this model") as refused:
        read(tmp_path / "model.json", tmp_path, LoadOptions(data=data))
    assert 'save_model("model.cbm")' in refused.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"simple_ctr": ["Borders:TargetBorderCount=4"], "combinations_ctr": ["Borders:TargetBorderCount=4"]},
        {"simple_ctr": ["Buckets:TargetBorderCount=3", "Borders:TargetBorderCount=2"]},
        {"loss_function": "MultiRMSE", "simple_ctr": ["Counter"], "combinations_ctr": ["Counter"]},
    ],
    ids=["one target", "several borders", "several types", "counters of two targets"],
)
def test_a_json_that_has_lost_nothing_is_read(settings: dict[str, Any], tmp_path: Path) -> None:
    model, frame = _of_targets(settings, tmp_path)
    data = tmp_path / "rows.parquet"
    made = read(tmp_path / "model.json", tmp_path, LoadOptions(data=data))
    wanted = np.asarray(model.predict(frame)).reshape(300, -1)
    np.testing.assert_allclose(answers(made, data, tmp_path), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("borders", [1, 3])
def test_means_of_targets_are_whole_numbers_in_a_json_or_its_refused(borders: int, tmp_path: Path) -> None:
    means = f"BinarizedTargetMeanValue:TargetBorderCount={borders}"
    model, frame = _of_targets({"simple_ctr": [means], "combinations_ctr": [means]}, tmp_path)
    data = tmp_path / "rows.parquet"
    wanted = np.asarray(model.predict(frame)).reshape(300, -1)
    made = read(tmp_path / "model.cbm", tmp_path, LoadOptions(data=data))
    np.testing.assert_allclose(answers(made, data, tmp_path), wanted, rtol=1e-6, atol=1e-9)
    if borders > 1:
        with pytest.raises(ModelError, match="its BinarizedTargetMeanValue tables hold fractions") as refused:
            read(tmp_path / "model.json", tmp_path, LoadOptions(data=data))
        assert 'save_model("model.cbm")' in refused.value.hint
        return
    made = read(tmp_path / "model.json", tmp_path, LoadOptions(data=data))
    np.testing.assert_allclose(answers(made, data, tmp_path), wanted, rtol=1e-6, atol=1e-9)


# ── sums of models ────────────────────────────────────────────────────────────────────────────────────────


def _regressor(loss: str, seed: int) -> cb.CatBoost:
    own = {**SMALL, "random_seed": seed, "loss_function": loss}
    label = np.c_[NUMBER, NUMBER**2] if loss == "MultiRMSE" else np.abs(NUMBER) + 1
    return cb.CatBoostRegressor(**own).fit(NUMBER[:, None], label)


def _classifier(seed: int) -> cb.CatBoost:
    return cb.CatBoostClassifier(**{**SMALL, "random_seed": seed}).fit(
        NUMBER[:, None], np.where(NUMBER > 0, "yes", "no")
    )


def _absent(seed: int) -> cb.CatBoost:
    own = {**SMALL, "random_seed": seed, "loss_function": "MultiClass", "class_names": [0, 1, 2]}
    return cb.CatBoostClassifier(**own).fit(NUMBER[:, None], np.where(NUMBER > 0, 2, 0))


SUMS: dict[str, tuple[Callable[[], list[cb.CatBoost]], str, str]] = {
    "RMSE": (lambda: [_regressor("RMSE", 1), _regressor("RMSE", 2)], "RMSE", "RawFormulaVal"),
    "Quantile": (lambda: [_regressor("Quantile:alpha=0.3", s) for s in (1, 2)], "Quantile", "RawFormulaVal"),
    "Poisson": (lambda: [_regressor("Poisson", 1), _regressor("Poisson", 2)], "Poisson", "Exponent"),
    "MultiRMSE": (lambda: [_regressor("MultiRMSE", 1), _regressor("MultiRMSE", 2)], "MultiRMSE", "RawFormulaVal"),
    "Logloss": (lambda: [_classifier(1), _classifier(2)], "Logloss", "Probability"),
    "an absent class": (lambda: [_absent(1), _absent(2)], "MultiClass", "Probability"),
    "a sum of a sum": (
        lambda: [cb.sum_models([_classifier(1), _classifier(2)]), _classifier(3)],
        "Logloss",
        "Probability",
    ),
    "two losses": (lambda: [_regressor("RMSE", 1), _regressor("MAE", 2)], "no loss named", "RawFormulaVal"),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_models_answers_as_its_parts_do(name: str, tmp_path: Path) -> None:
    make, loss, kind = SUMS[name]
    model = cb.sum_models(make(), weights=[0.3, 0.7])
    wanted = np.asarray(model.predict(NUMBER[:, None], prediction_type=kind)).reshape(200, -1)
    for file in ("model.cbm", "model.json"):
        model.save_model(tmp_path / file, format=file.removeprefix("model."))
        made = read(tmp_path / file, tmp_path)
        assert made.signature.objective == loss
        assert made.signature.provenance.framework_version == cb.__version__
        np.testing.assert_allclose(
            run(made.program, NUMBER[:, None].astype(np.float32)), wanted, rtol=1e-6, atol=1e-300
        )
    assert made.signature.output.kind == (
        "probability" if kind == "Probability" else "value" if loss != "no loss named" else "margin"
    )
    assert bool(made.signature.notes) == (loss == "no loss named")


def test_what_a_file_says_of_its_loss_version_and_classes() -> None:
    for given in ({"type": "Quantile", "params": {}}, '{"type": "Quantile", "params": {}}', "Quantile:alpha=0.3"):
        assert information.loss({"loss_function": given}) == "Quantile"
        assert information.loss({"params": {"loss_function": given}}) == "Quantile"
    assert information.loss({}) == ""
    parts = {f"model{i}:catboost_version_info": f"Branch: tags/v{v}" for i, v in enumerate(("1.2.9", "1.2.10", "1.0"))}
    assert information.version(parts) == "1.2.10"
    numbers = {"class_label_type": "Integer", "class_names": [], "class_to_label": [5, 6, 9], "classes_count": 0}
    assert information.classes({"class_params": numbers}, 3) == information.Classes(("5", "6", "9"), (0, 1, 2))
    for wrong in ([0, 0, 1], [0, 1, 3], [0, 1]):
        with pytest.raises(ModelError, match="class_to_label"):
            information.classes({"class_params": {"class_names": [1, 2, 3], "class_to_label": wrong}}, 3)
