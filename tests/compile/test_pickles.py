"""Honest pickles: the native model is taken out bit for bit, with the attributes that change answers."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import catboost as cb
import joblib
import lz4.frame
import numpy as np
import numpy.typing as npt
import pytest
import xgboost as xgb
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from millwork.compile.frontends import ubjson
from millwork.compile.frontends.pickles import Limits, PickledModel, read_pickle, read_pickled
from millwork.errors import ModelError

FILES = Path(__file__).parent / "files"
RNG = np.random.default_rng(5)
ROWS: npt.NDArray[np.float32] = RNG.normal(size=(150, 4)).astype(np.float32)
BINARY = (ROWS[:, 0] > 0).astype(int)
THREE = np.digitize(ROWS[:, 0], [-0.4, 0.4])

XGBOOST: dict[str, Callable[[], object]] = {
    "XGBClassifier": lambda: xgb.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1, missing=-999.0).fit(ROWS, THREE),
    "XGBRegressor": lambda: xgb.XGBRegressor(n_estimators=3, max_depth=2, n_jobs=1).fit(ROWS, ROWS[:, 0]),
    "XGBRanker": lambda: xgb.XGBRanker(n_estimators=2, max_depth=2, n_jobs=1).fit(
        ROWS, BINARY, qid=np.repeat(range(15), 10)
    ),
    "XGBRFClassifier": lambda: xgb.XGBRFClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(ROWS, BINARY),
    "XGBRFRegressor": lambda: xgb.XGBRFRegressor(n_estimators=3, max_depth=2, n_jobs=1).fit(ROWS, ROWS[:, 0]),
    "Booster": lambda: xgb.train({"max_depth": 2, "nthread": 1}, xgb.DMatrix(ROWS, BINARY), 3),
}
QUIET = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
CATBOOST: dict[str, Callable[[], object]] = {
    "CatBoostClassifier": lambda: cb.CatBoostClassifier(**QUIET, class_names=["a", "b", "c"]).fit(
        ROWS, np.array(["a", "b", "c"])[THREE]
    ),
    "CatBoostRegressor": lambda: cb.CatBoostRegressor(**QUIET).fit(ROWS, ROWS[:, 0]),
    "CatBoost": lambda: cb.CatBoost({**QUIET, "loss_function": "Poisson"}).fit(ROWS, BINARY),
}


def joblib_bytes(model: object, compress: object = 0, protocol: int | None = None) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=compress, protocol=protocol)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[object], bytes]] = {
    **{f"protocol {n}": lambda model, n=n: pickle.dumps(model, n) for n in range(6)},
    "joblib": joblib_bytes,
    "joblib protocol 2": lambda model: joblib_bytes(model, protocol=2),
    **{
        f"joblib {kind}": lambda model, kind=kind: joblib_bytes(model, (kind, 3))
        for kind in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4")
    },
    "joblib 3": lambda model: joblib_bytes(model, 3),
    "pickle in gzip": lambda model: gzip.compress(pickle.dumps(model)),
}


@pytest.fixture(scope="module")
def models() -> dict[str, object]:
    return {name: make() for name, make in (XGBOOST | CATBOOST).items()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("estimator", XGBOOST)
def test_xgboost_bit_for_bit(models: dict[str, object], estimator: str, writer: str) -> None:
    model = models[estimator]
    booster = model if isinstance(model, xgb.Booster) else model.get_booster()  # type: ignore[attr-defined]

    read = read_pickled(WRITERS[writer](model), "m.pkl")

    assert (read.framework, read.estimator, read.payload_format) == ("xgboost", estimator, "ubj")
    native = ubjson.member(read.payload, "Model")
    assert native == bytes(booster.save_raw("ubj"))
    again = xgb.Booster(model_file=bytearray(native))
    rows = xgb.DMatrix(ROWS)
    assert np.array_equal(again.predict(rows), booster.predict(rows))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("estimator", CATBOOST)
def test_catboost_bit_for_bit(models: dict[str, object], estimator: str, writer: str, tmp_path: Path) -> None:
    model = models[estimator]
    assert isinstance(model, cb.CatBoost)

    read = read_pickled(WRITERS[writer](model), "m.pkl")

    assert (read.framework, read.estimator, read.payload_format) == ("catboost", estimator, "cbm")
    model.save_model(tmp_path / "m.cbm")
    assert read.payload == (tmp_path / "m.cbm").read_bytes()
    again = cb.CatBoost().load_model(blob=read.payload)
    assert np.array_equal(
        again.predict(ROWS, prediction_type="RawFormulaVal"), model.predict(ROWS, prediction_type="RawFormulaVal")
    )


def test_the_attributes_that_change_answers(models: dict[str, object]) -> None:
    attributes = read_pickled(pickle.dumps(models["XGBClassifier"]), "m.pkl").attributes
    assert attributes.missing == -999.0
    assert attributes.n_classes == 3
    assert attributes.objective == "multi:softprob"
    assert attributes.n_estimators == 3
    assert attributes.enable_categorical is False
    assert not attributes.custom_objective

    regressor = read_pickled(pickle.dumps(models["XGBRegressor"]), "m.pkl").attributes
    assert regressor.missing is not None
    assert np.isnan(regressor.missing)
    assert read_pickled(pickle.dumps(models["Booster"]), "m.pkl").attributes.missing is None

    classes = read_pickled(pickle.dumps(models["CatBoostClassifier"]), "m.pkl").attributes.classes
    assert classes == ("a", "b", "c")
    assert read_pickled(pickle.dumps(models["CatBoost"]), "m.pkl").attributes.loss_function == "Poisson"


@pytest.mark.parametrize("missing", [0, -1.5, np.float64(-999.0), np.float32(7), np.int64(3), None, float("inf")])
@pytest.mark.parametrize("protocol", range(6))
def test_missing_however_it_was_written(models: dict[str, object], missing: object, protocol: int) -> None:
    model = pickle.loads(pickle.dumps(models["XGBClassifier"]))
    model.missing = missing
    assert read_pickled(pickle.dumps(model, protocol), "m.pkl").attributes.missing == missing


@pytest.mark.parametrize("labels", [[0, 1, 2], ["no", "yes"], [True, False], [0.5, 1.5]])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", [None, object])
def test_class_labels_in_an_array(
    models: dict[str, object], labels: list[object], writer: str, dtype: type[object] | None
) -> None:
    model = pickle.loads(pickle.dumps(models["XGBRegressor"]))
    model.classes_ = np.array(labels, dtype)  # xgboost before 2.0 kept them
    model.other = np.asfortranarray(ROWS)
    assert read_pickled(WRITERS[writer](model), "m.pkl").attributes.classes == tuple(labels)


def test_an_early_stopped_classifier_keeps_its_rounds() -> None:
    model = xgb.XGBClassifier(n_estimators=30, early_stopping_rounds=2, learning_rate=1.0, n_jobs=1)
    model.fit(ROWS[:100], BINARY[:100], eval_set=[(ROWS[100:], BINARY[100:])], verbose=False)
    read = read_pickled(joblib_bytes(model), "m.joblib")
    assert read.attributes.early_stopping_rounds == 2
    again = xgb.Booster(model_file=bytearray(ubjson.member(read.payload, "Model")))
    assert again.best_iteration == model.best_iteration


def log_loss(labels: object, scores: object) -> tuple[object, object]:
    return scores, labels


def test_the_users_own_objective_is_named(models: dict[str, object]) -> None:
    model = pickle.loads(pickle.dumps(models["XGBClassifier"]))
    model.objective = log_loss
    attributes = read_pickled(pickle.dumps(model), "m.pkl").attributes
    assert attributes.custom_objective
    assert attributes.objective is not None
    assert attributes.objective.endswith("log_loss")


@pytest.mark.parametrize("name", [path.name for path in sorted(FILES.glob("*.joblib"))])
def test_old_versions_of_xgboost(name: str) -> None:
    """Written by xgboost 1.5.2, 1.7.6 and 2.1.4 themselves; see files/make_pickles.py."""
    expected = np.array(json.loads((FILES / "answers.json").read_text())[name])
    read = read_pickle(FILES / name)
    if read.payload_format == "ubj":
        native = ubjson.member(read.payload, "Model", name)
    else:
        native = json.dumps(json.loads(read.payload)["Model"]).encode()
    rows = np.array([[0.1, -0.2, 0.3], [-999.0, 1.5, -0.4], [-1.0, -999.0, 0.9]], np.float32)
    with xgb.config_context(verbosity=0):  # it warns of a model from before 1.6
        booster = xgb.Booster(model_file=bytearray(native))
    missing = np.nan if read.attributes.missing is None else read.attributes.missing
    stopped = read.attributes.best_iteration
    if stopped is None and booster.attr("best_iteration") is not None:
        stopped = booster.best_iteration
    rounds = (0, 0) if stopped is None or read.estimator == "Booster" else (0, stopped + 1)
    answer = booster.predict(
        xgb.DMatrix(rows, missing=missing, feature_names=booster.feature_names), iteration_range=rounds
    )
    expected = expected[:, 1] if expected.ndim == 2 else expected
    np.testing.assert_allclose(answer, expected, rtol=1e-6)
    if read.estimator == "XGBClassifier":
        assert read.attributes.missing == -999.0
        assert read.attributes.n_classes == 2
        labels = {"1.5.2": ("no", "yes"), "1.7.6": (0, 1)}.get(name.split("-")[1])
        assert read.attributes.classes == labels


def test_reading_imports_no_framework(models: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(models["XGBClassifier"]))
    (tmp_path / "x.joblib").write_bytes(joblib_bytes(models["XGBRegressor"], 3))
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(models["CatBoostClassifier"]))
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from millwork.compile.frontends import pickles, sniff, ubjson\n"
        "for name in sys.argv[1:]:\n"
        "    assert sniff.sniff(Path(name)) == 'pickle'\n"
        "    model = pickles.read_pickle(Path(name))\n"
        "    if model.framework == 'xgboost': ubjson.parse(model.payload)\n"
        "print(sorted({'xgboost', 'catboost', 'sklearn', 'joblib', 'scipy', 'pandas', 'pickle5'} & set(sys.modules)))\n"
    )
    names = [str(tmp_path / name) for name in ("x.pkl", "x.joblib", "c.pkl")]
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


# ── what is refused, and what it says ─────────────────────────────────────────────────────────────────────


class Renamed(xgb.XGBClassifier):  # type: ignore[misc]
    """A user's own subclass: its predict may be another one."""


def refusal(content: object) -> ModelError:
    with pytest.raises(ModelError) as refused:
        read_pickled(content if isinstance(content, bytes) else pickle.dumps(content), "m.pkl")
    return refused.value


def test_a_model_inside_something_else_is_named_with_its_place(models: dict[str, object]) -> None:
    model = models["XGBClassifier"]
    error = refusal({"scaler": 1, "model": model})
    assert error.message.startswith("m.pkl: a pickle of dict; expected one fitted xgboost Booster")
    assert "joblib.dump(content['model'], \"inner.joblib\")" in error.hint
    assert "content[1]" in refusal([1, models["CatBoostRegressor"]]).hint
    assert refusal((1, 2)).message.startswith("m.pkl: a pickle of tuple; ")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pipeline_whose_other_steps_do_nothing_is_its_model(models: dict[str, object], protocol: int) -> None:
    for name in ("XGBClassifier", "CatBoostRegressor"):
        for steps in ([], [("a", "passthrough")], [("a", None), ("b", "passthrough")]):
            pipeline = Pipeline([*steps, ("model", Pipeline([("own", models[name])]))])
            read = read_pickled(pickle.dumps(pipeline, protocol), "m.pkl")
            assert read == read_pickled(pickle.dumps(models[name]), "m.pkl")


def test_a_pipeline_that_does_something_is_refused_by_its_step(models: dict[str, object]) -> None:
    model = models["XGBClassifier"]
    error = refusal(Pipeline([("nothing", "passthrough"), ("scale", StandardScaler()), ("model", model)]))
    assert "whose step 'scale' is sklearn.preprocessing._data.StandardScaler" in error.message
    assert "joblib.dump(model[-1], " in error.hint
    assert "a pickle of sklearn.linear_model" in refusal(make_pipeline(LogisticRegression())).message
    assert "isn't fitted" in refusal(make_pipeline(xgb.XGBClassifier())).message
    broken = Pipeline([("model", model)])
    broken.steps = "steps"
    assert "whose steps are not a list" in refusal(broken).message


def test_others_are_refused_by_name(models: dict[str, object]) -> None:
    subclass = Renamed(n_estimators=1)
    assert "Renamed; expected" in refusal(subclass).message
    assert "LightGBM is not read" in refusal(b"\x80\x04\x8c\x0elightgbm.basic\x8c\x07Booster\x93)\x81.").hint
    assert refusal(pickle.dumps(0x1950A86A20F9469CFC6C, 2)).message == "m.pkl: the file was written by torch.save"
    assert "a pickle of numpy" in refusal(np.zeros(3)).message
    assert "a pickle of xgboost.sklearn.XGBClassifier;" in refusal(xgb.XGBClassifier).message


@pytest.mark.parametrize(
    "model", [xgb.XGBClassifier(), xgb.XGBRegressor(missing=0), cb.CatBoostClassifier(), cb.CatBoostRegressor(depth=3)]
)
def test_an_unfitted_estimator(model: object) -> None:
    error = refusal(model)
    assert "isn't fitted" in error.message
    assert type(model).__name__ in error.message


def test_the_old_binary_format_inside_a_pickle(models: dict[str, object]) -> None:
    for header in (b"binf", b"CONFIG-offset:"):
        written = pickle.dumps(models["Booster"], 4)
        handle = models["Booster"].__getstate__()["handle"]  # type: ignore[attr-defined]
        error = refusal(written.replace(bytes(handle[:20]), header.ljust(20, b"\0")))
        assert "old binary format" in error.message
        assert 'save_model("model.json")' in error.hint


def test_an_attribute_that_cannot_be_read_is_not_guessed(models: dict[str, object]) -> None:
    model = pickle.loads(pickle.dumps(models["XGBClassifier"]))
    model.missing = "NA"
    assert refusal(model).message == "m.pkl: the estimator's 'missing' is str, expected a number"
    model.missing = [1.0]
    assert "'missing' is list" in refusal(model).message


@pytest.mark.parametrize(
    "writer", ["protocol 0", "protocol 2", "protocol 5", "joblib", "joblib zlib", "joblib xz", "joblib bz2"]
)
def test_truncated_files(models: dict[str, object], writer: str) -> None:
    written = WRITERS[writer](models["XGBClassifier"])
    for size in range(1, len(written) - 1, max(1, len(written) // 60)):
        with pytest.raises(ModelError, match=r"^m\.pkl: "):
            read_pickled(written[:size], "m.pkl")


def test_compressions_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)  # as if it weren't installed
    error = refusal(lz4.frame.compress(b"N."))
    assert "compressed by lz4, whose package isn't installed" in error.message
    assert error.hint == "pip install lz4"
    assert "compressed by zstd" in refusal(b"\x28\xb5\x2f\xfd" + bytes(20)).message
    assert "joblib older than 0.10" in refusal(b"ZF0x10" + bytes(20)).message


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress, bz2.compress, lzma.compress, lz4.frame.compress])
def test_a_decompression_bomb(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(bytes(70 << 20))
    assert len(bomb) < 1 << 20
    assert "expands to more than 67108864 bytes" in refusal(bomb).message


def test_an_xz_header_that_asks_for_gigabytes() -> None:
    alone = b"\x5d" + (0xF0000000).to_bytes(4, "little") + b"\xff" * 8 + bytes(100)
    assert "m.pkl: " in refusal(alone).message


def test_limits_are_named(models: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(models["XGBClassifier"]))
    for limits, said in (
        (Limits(file_bytes=1000), "more than the limit of 1000"),
        (Limits(opcodes=20), "more than 20 opcodes"),
        (Limits(containers=2), "more than 2 objects"),
        (Limits(memo=5), "more than 5 memo entries"),
        (Limits(depth=0), "nested deeper than 0"),
    ):
        with pytest.raises(ModelError, match=said):
            read_pickle(path, limits)
    assert isinstance(read_pickle(path), PickledModel)
