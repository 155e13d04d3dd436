"""``millwork.optimize`` at the end of a training script: live models, frames and arrays, an exception an exit code."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import catboost as cb
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost as xgb
from models import catboost_cases, jobs
from models.jobs import COLUMNS, LABEL, Desk, litter
from sklearn.model_selection import GridSearchCV

import millwork
from millwork import api, errors
from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import find_version, served_version
from millwork.errors import UsageError
from millwork.pipeline.options import Options
from millwork.values import Record

QUICK: dict[str, Any] = {"triton": "none", "backends": "onnx", "traffic": "batch=1"}


def test_a_live_classifier_and_a_frame(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    """With the label's name. Says nothing, returns what run.json holds, and touches neither model nor frame."""
    model = pickle.loads(desk.files.clicks.read_bytes())
    frame = desk.files.table()
    before = frame.copy()
    record = millwork.optimize(
        model, data=frame, label=LABEL, repository=desk.repository, name="live", run_dir=desk.folder / "live", **QUICK
    )
    assert capfd.readouterr() == ("", "")
    assert isinstance(record, millwork.Record)
    assert record == msgspec.json.decode((desk.folder / "live" / "run.json").read_bytes(), type=Record)
    assert record.publication is not None
    assert (record.publication.name, record.publication.version) == ("live", 1)
    assert served_version(desk.repository, "live") == 1
    (line,) = record.candidates
    assert line.parity is not None
    assert line.parity.metric is not None
    assert (line.parity.metric.name, line.parity.metric.rows) == ("logloss", len(frame))
    assert record.model.features == tuple(COLUMNS)
    pd.testing.assert_frame_equal(frame, before)
    assert litter(desk.folder) == []


def test_a_booster_and_arrays_with_labels(desk: Desk) -> None:
    """Margins, published: the artifact gives what the Booster does, before any transform."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    label = (rows[:, 0] > 0).astype(int)
    matrix = xgb.DMatrix(rows, label=label)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, matrix, 5)
    record = millwork.optimize(
        booster, data=rows, label=label, name="booster", output="margin", repository=desk.repository, **QUICK
    )
    assert record.model.output_kind == "margin"
    assert (desk.folder / ".millwork" / "booster" / "run.json").is_file(), "the default run directory, by name"
    np.save("rows.npy", rows)
    said = jobs.millwork(
        "predict", "--repository", desk.repository, "--name", "booster", "--input", "rows.npy", "--output", "out.npy"
    )
    assert said.code == 0, said.err
    np.testing.assert_allclose(np.load("out.npy")[:, 0], booster.predict(matrix, output_margin=True), rtol=1e-5)


def test_a_table_of_arrow_is_taken_by_name(desk: Desk) -> None:
    """In another order than the model's, its labels beside it in one column: the metric is the frame's."""
    frame = desk.files.table()
    backwards = pa.table({name: frame[name].to_numpy() for name in COLUMNS[::-1]})
    given: dict[str, Any] = {"run_dir": desk.run_dir, "dry_run": True, **QUICK}
    found = [
        millwork.optimize(desk.files.clicks, data=data, label=label, **given).candidates[0].parity
        for data, label in ((desk.files.rows, LABEL), (backwards, frame[[LABEL]].to_numpy()))
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].metric == found[1].metric


def test_a_live_catboost_and_labels_beside_a_frame(desk: Desk) -> None:
    frame = desk.files.features()
    size = np.where(frame["a"].fillna(0) > 0, "large", "small")
    model = cb.CatBoostClassifier(iterations=5, depth=3, verbose=0, allow_writing_files=False, thread_count=1)
    model.fit(frame, size)
    record = millwork.optimize(model, data=frame, label=size, name="sizes", dry_run=True, **QUICK)
    (line,) = record.candidates
    assert line.status == "passed"
    assert record.model.outputs == ("large", "small")
    assert line.parity is not None
    assert line.parity.metric is not None


def test_the_manifest_says_that_the_answers_of_an_own_loss_are_margins(desk: Desk) -> None:
    model, rows = catboost_cases.own_loss(1)
    record = millwork.optimize(model, data=rows, name="own", repository=desk.repository, **QUICK)
    assert record.publication is not None
    manifest = manifests.read(find_version(desk.repository, "own", record.publication.version))
    assert (manifest.output.kind, manifest.output.labels) == ("margin", ("margin",))
    assert manifest.model.notes == ("the model was trained with a custom loss, so its answers are margins",)


@pytest.mark.parametrize(
    ("changes", "error", "phrase"),
    [
        ({"target": "b9000"}, millwork.UsageError, "unknown target"),
        ({"data": np.zeros((4, 9))}, millwork.UsageError, "each row has 9 values; the model takes 5"),
        ({"data": np.array([["a"]])}, millwork.UsageError, "data must be numbers"),
        ({"label": np.zeros(3)}, millwork.UsageError, "label is an array and data isn't"),
        ({"data": np.zeros((4, 5)), "label": "y"}, millwork.UsageError, "names a column, and data has no names"),
        ({"data": np.zeros((4, 5)), "label": [1]}, millwork.UsageError, "1 labels for 4 rows"),
        ({"data": {"a": [1.0], "b": [1.0]}}, millwork.UsageError, "data: the file lacks 3 of the model's 5 features"),
        ({"model": "s3://b/m.pkl"}, millwork.UsageError, "the model must be on this machine"),
        ({"slo": "p99=1ms"}, millwork.UsageError, "--slo"),
        ({"model": "nothing.json"}, millwork.ModelError, "there is no such file"),
        ({"model": object()}, millwork.ModelError, "can't optimize a builtins.object"),
        ({"model": xgb.XGBRegressor()}, millwork.ModelError, "fit"),
        (
            {"model": GridSearchCV(xgb.XGBRegressor(n_estimators=1), {}, cv=2).fit(np.eye(4), [1, 2, 3, 4])},
            millwork.ModelError,
            'joblib.dump(model.best_estimator_, "inner.joblib")',
        ),
        ({"tolerance": "abs=0,rel=0"}, millwork.ParityError, "no candidate answers as the framework does"),
        ({"target": "h100"}, millwork.TargetError, "the target h100 isn't here"),
        ({"allow_other_gpu": True}, millwork.UsageError, "the target host is no GPU"),
        ({"repository": "file"}, millwork.PublicationError, "the repository can't be made"),
        ({"triton": "grpc://127.0.0.1:1"}, millwork.PublicationError, "no Triton answers"),
    ],
)
def test_an_exception_for_each_exit_code(
    desk: Desk, changes: dict[str, Any], error: type[millwork.MillworkError], phrase: str
) -> None:
    (desk.folder / "file").touch()
    given = {
        "model": desk.files.clicks,
        "data": desk.files.rows,
        "repository": desk.repository,
        "run_dir": desk.run_dir,
        "name": "clicks",
        **QUICK,
        **changes,
    }
    with pytest.raises(error) as caught:
        millwork.optimize(given.pop("model"), **given)
    assert phrase in str(caught.value)
    assert caught.value.exit_code == {kind: n for n, kind in CODES.items()}[error]
    record = caught.value.record
    if error in (millwork.ParityError, millwork.TargetError):
        assert record is not None
        assert record.stopped == caught.value.message
        assert record == msgspec.json.decode((desk.run_dir / "run.json").read_bytes(), type=Record)
    else:
        assert record is None, "nothing had been judged"
    assert served_version(desk.repository, "clicks") == 1


def test_a_failed_publication_has_its_record(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWORK_STAGING", str(desk.repository / "inside"))
    with pytest.raises(millwork.MillworkError) as caught:
        millwork.optimize(
            desk.files.again, data=desk.files.rows, repository=desk.repository, run_dir=desk.run_dir, **QUICK
        )
    assert caught.value.exit_code == 2
    monkeypatch.delenv("MILLWORK_STAGING")
    ledger = desk.repository.parent / ".models.millwork" / "ledger" / "again.json"
    ledger.write_text("{")
    with pytest.raises(millwork.PublicationError) as caught:
        millwork.optimize(
            desk.files.again, data=desk.files.rows, repository=desk.repository, run_dir=desk.run_dir, **QUICK
        )
    assert caught.value.record is not None
    assert caught.value.record.winner is not None
    assert caught.value.record.publication is None


def test_a_live_net_and_a_frame_with_its_labels(desk: Desk) -> None:
    """The label's column is no feature, whether it is named or was taken out as a series."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    frame["target"] = (frame["a"] > 0).astype(int)
    net = torch.nn.Linear(3, 1)
    record = millwork.optimize(net, data=frame, label="target", name="net", task="binary", dry_run=True, **QUICK)
    assert record.model.features == ("a", "b", "c")
    assert record.candidates[0].parity is not None
    assert record.candidates[0].parity.metric is not None
    for label in ("target", frame["target"]):
        assert api._features(frame, label, is_data=True) == ["a", "b", "c"]
    assert api._features(frame, 1 - frame["target"], is_data=True) == ["a", "b", "c", "target"]
    for label, data, said in (
        ("targte", frame, "no column 'targte'.*did you mean 'target'"),
        ("target", frame.assign(d="x"), "column 'd' of the net's example isn't numeric"),
        ("target", frame[["a", "b", "c"]].to_numpy(), "names a column, and data has no names"),
        (frame["target"][:50], frame[["a", "b", "c"]].to_numpy(), "50 labels for 120 rows"),
    ):
        with pytest.raises(UsageError, match=said):
            millwork.optimize(net, data=data, label=label, name="net", task="binary", dry_run=True, **QUICK)


def test_a_list_of_backends_a_mapping_of_batch_sizes_and_paths(desk: Desk) -> None:
    record = millwork.optimize(
        desk.files.clicks,
        data=desk.files.rows,
        backends=["onnx"],
        traffic={1: 0.5, 3: 0.5},
        triton="none",
        run_dir=desk.folder / "listed",
        dry_run=True,
    )
    (line,) = record.candidates
    assert (line.id, [latency.batch for latency in line.latency]) == ("onnx-fp32", [1, 3])
    assert (desk.folder / "listed" / "run.json").is_file()


def test_it_takes_what_the_command_takes() -> None:
    """Under the same names, with the same defaults; written once."""
    taken = inspect.signature(millwork.optimize).parameters
    options = inspect.signature(Options).parameters
    assert set(taken) == set(options) - {"executor"} | {"example", "progress"}
    assert all(taken[name].default == options[name].default for name in options if name in taken)
    assert list(taken)[:3] == ["model", "data", "label"]
    assert [name for name, one in taken.items() if one.kind is not one.KEYWORD_ONLY] == ["model"]


def test_a_keyword_that_is_not_known_is_told_with_one_that_is() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'lable'; did you mean 'label'\?"):
        millwork.optimize("m.json", lable="y")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'executor'$"):
        millwork.optimize("m.json", executor="local")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        millwork.optimize("m.json", "rows.csv")  # type: ignore[call-arg]


CODES = {
    2: millwork.UsageError, 3: millwork.ModelError, 4: millwork.ParityError, 5: millwork.TargetError,
    6: millwork.SloError, 7: millwork.PublicationError, 70: millwork.InternalError,
}  # fmt: skip


def test_the_codes_are_those_that_are_documented() -> None:
    assert {kind.exit_code: kind for kind in errors.BY_NAME.values()} == CODES
    documented = millwork.__doc__ or ""
    assert all(f"{kind.__name__} {code}" in documented for code, kind in CODES.items())


def test_progress_is_told_in_order(desk: Desk) -> None:
    heard: list[tuple[str, str]] = []

    class Listener:
        def begin(self, stage: str, what: str) -> None:
            heard.append(("begin", stage))

        def detail(self, line: str) -> None: ...

        def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None:
            heard.append(("end", f"kept={cached} ok={ok}"))

        def note(self, text: str) -> None: ...

    millwork.optimize(
        Path(desk.files.clicks),
        data=str(desk.files.rows),
        run_dir=desk.run_dir,
        dry_run=True,
        progress=Listener(),
        **QUICK,
    )
    stages = ["load", "triton", "rows", "oracle", "build", "check", "measure", "serve"]
    assert [name for kind, name in heard if kind == "begin"] == stages
    assert [kind for kind, _ in heard] == ["begin", "end"] * len(stages)
    assert [said for kind, said in heard if kind == "end"].count("kept=True ok=True") >= 6
