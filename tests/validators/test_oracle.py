"""The framework itself is asked: at the version that wrote the model, in a process that may crash."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import catboost
import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost
from models import xgboost_models
from models.gate import gate

from millwork.compile.frontends.loaded_model import Oracle, Signature
from millwork.compile.runners.load import installed, requirement
from millwork.errors import ModelError, TargetError
from millwork.storage import tables
from millwork.validators import oracle
from millwork.values import FeatureContract, OutputContract, Provenance
from millwork.worker import Limits

FILES = Path(__file__).parents[1] / "compile" / "files"


def of(framework: str = "xgboost", version: str = xgboost.__version__) -> Oracle:
    parameters = {"answer": "binary", "missing": "nan", "rounds": "0"}
    return Oracle(framework=framework, version=version, native_file="model.json", parameters=parameters)


def silent(line: str) -> None:
    raise AssertionError(f"an environment was to be made: {line}")


def test_the_installed_version_answers_where_it_wrote_the_model() -> None:
    assert installed("xgboost") == xgboost.__version__
    assert installed("catboost") == catboost.__version__
    for wanted in (of(), of(version=""), of("catboost", catboost.__version__)):
        found = oracle.interpreter(wanted, silent)
        assert (found.python, found.note) == (sys.executable, "")
        assert found.version == installed(wanted.framework)


def test_what_pip_is_asked_for() -> None:
    assert requirement("xgboost", "2.1.4") == "xgboost-cpu==2.1.4"
    assert requirement("xgboost", "3.10.0") == "xgboost-cpu==3.10.0"
    assert requirement("xgboost", "2.0.3") == "xgboost==2.0.3"
    assert requirement("catboost", "1.2.8") == "catboost==1.2.8"


@pytest.fixture
def without_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing anywhere, and no environment is there yet."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("without_packages")
def test_a_newer_installed_version_may_answer_for_an_older_one_if_trusted_and_says_so() -> None:
    found = oracle.interpreter(of(version="2.1.0"), lambda _line: None, trust=True)
    assert (found.python, found.version) == (sys.executable, xgboost.__version__)
    assert found.note.startswith(f"judged by xgboost {xgboost.__version__}, not by 2.1.0, which wrote the model: ")


@pytest.mark.usefixtures("without_packages")
def test_without_trust_a_version_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(TargetError, match=r"written by xgboost 2\.1\.0") as caught:
        oracle.interpreter(of(version="2.1.0"), lambda _line: None)
    assert "--trust" in caught.value.hint


@pytest.mark.usefixtures("without_packages")
def test_an_older_one_never_does() -> None:
    with pytest.raises(
        TargetError, match=r"written by xgboost 99\.0\.0, but an environment with it can't be made"
    ) as refused:
        oracle.interpreter(of(version="99.0.0"), lambda _line: None)
    assert refused.value.hint == "pip install xgboost-cpu==99.0.0"


def test_another_version_judges_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """XGBoost 2.1.4, whose wrapper stopped early and reads -999 as missing. The environment is kept in the user's own
    cache: made once, in about half a minute."""
    found = oracle.interpreter(of(version="2.1.4"), lambda _line: None)
    assert found.python != sys.executable
    assert found.version == "2.1.4"
    judge = gate(FILES / "xgboost-2.1.4-classifier.joblib", tmp_path / "gate", python=found.python)
    assert judge.signature.oracle.version == "2.1.4"
    built = judge.build("onnx", tmp_path / "onnx").artifact
    assert built is not None
    verdict = judge.check(built, tmp_path / "onnx")
    assert verdict.passed, verdict.reason
    assert verdict.parity.leaf_mismatches == 0


def ask(folder: Path, model: Path, seconds: float = 60) -> oracle.Asked:
    np.save(folder / "rows.npy", xgboost_models.rows(1, 50))
    return oracle.ask(of(), model, folder / "rows.npy", None, folder, sys.executable, Limits(seconds=seconds))


def test_answers_and_leaves_lie_beside_the_rows(tmp_path: Path) -> None:
    model = xgboost_models.model("binary")
    asked = ask(tmp_path, xgboost_models.save(model, tmp_path / "model.json"))
    assert asked.version == xgboost.__version__
    answers, leaves = np.load(tmp_path / "answers.npy"), np.load(tmp_path / "leaves.npy")
    assert (answers.dtype, answers.shape) == (np.float32, (50, 2))
    assert (leaves.dtype, leaves.shape) == (np.int32, (50, model.num_boosted_rounds()))
    matrix = xgboost.DMatrix(xgboost_models.rows(1, 50))
    np.testing.assert_array_equal(answers[:, 1], model.predict(matrix))
    np.testing.assert_array_equal(leaves, model.predict(matrix, pred_leaf=True))
    assert not (tmp_path / "request.json").exists()


def first_tree(column: str, at: int, value: int) -> Any:
    def edit(document: dict[str, Any]) -> None:
        document["learner"]["gradient_booster"]["model"]["trees"][0][column][at] = value

    return edit


def test_a_framework_that_crashes_on_the_model_is_a_model_error(tmp_path: Path) -> None:
    """It is given a file that our own reader would have refused."""
    broken = xgboost_models.edited(
        xgboost_models.model("binary"), tmp_path / "model.json", first_tree("left_children", 0, 10**8)
    )
    with pytest.raises(
        ModelError, match="xgboost itself, asked to predict with the model, crashed with a segment"
    ) as got:
        ask(tmp_path, broken)
    assert got.value.hint == f"Its log: {tmp_path / 'ask.log'}"


def test_a_framework_that_refuses_the_model_is_a_model_error(tmp_path: Path) -> None:
    whole = xgboost_models.save(xgboost_models.model("binary"), tmp_path / "whole.json").read_bytes()
    (tmp_path / "model.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ModelError, match=r"xgboost itself, asked to predict with the model, failed: .*XGBoostError: \["
    ):
        ask(tmp_path, tmp_path / "model.json")


def test_a_framework_that_takes_too_long_is_a_model_error(tmp_path: Path) -> None:
    model = xgboost_models.save(xgboost_models.model("binary"), tmp_path / "model.json")
    with pytest.raises(ModelError, match=r"did not finish within 0\.05 s"):
        ask(tmp_path, model, seconds=0.05)


# ── is the model what it was read as? ─────────────────────────────────────────────────────────────────────


def signature_of(labels: tuple[str, ...], **output: Any) -> Signature:
    return Signature(
        provenance=Provenance(path="m.cbm", format="", sha256="", framework="catboost", framework_version=""),
        features=FeatureContract(names=("a",), named=True),
        output=OutputContract(kind="probability", task="multiclass", labels=labels, **output),
        objective="MultiClass",
        oracle=of("catboost"),
    )


def test_another_number_of_answers_than_the_model_was_read_with_is_an_error() -> None:
    for framework in ("catboost", "xgboost", "torch"):
        read = signature_of(("0", "2"))
        read = msgspec.structs.replace(read, oracle=msgspec.structs.replace(read.oracle, framework=framework))
        asked = oracle.Asked(version="1", width=3, told=oracle.Told())
        with pytest.raises(
            ModelError, match=rf"m\.cbm: {framework} itself gives 3 answers a row, .* one of 2 \(0, 2\)"
        ):
            oracle.require_as_read(asked, read, "")
        oracle.require_as_read(msgspec.structs.replace(asked, width=2), read, "")


def test_other_names_of_the_classes_than_the_model_was_read_with_are_an_error() -> None:
    asked = oracle.Asked(version="1", width=2, told=oracle.Told(labels=("1", "0")))
    with pytest.raises(ModelError, match=r"calls its classes 1, 0, but the model was read as one of 0, 1"):
        oracle.require_as_read(asked, signature_of(("0", "1")), "")
    oracle.require_as_read(asked, signature_of(("1", "0")), "")
    decided = msgspec.structs.replace(signature_of(()).output, kind="label", labels=("label",), classes=("0", "1"))
    read = msgspec.structs.replace(signature_of(()), output=decided)
    with pytest.raises(ModelError, match="calls its classes 1, 0"):
        oracle.require_as_read(msgspec.structs.replace(asked, width=1), read, "")


def test_the_framework_is_asked_on_the_rows_own_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a column that is read otherwise than the framework takes it is named, whatever the trees make of it."""
    place, number = np.arange(120) % 2 == 0, np.linspace(-1, 1, 120)
    frame = pd.DataFrame(
        {"member": place, "who": pd.Categorical(np.array(["a\0", "b", "c"])[np.arange(120) % 3]), "n": number}
    )
    model = catboost.CatBoostClassifier(iterations=4, depth=3, verbose=0, allow_writing_files=False)
    model.fit(frame, (place ^ (number > 0.5)).astype(int), cat_features=["member", "who"])
    model.save_model(tmp_path / "m.cbm")
    frame.to_parquet(tmp_path / "rows.parquet")
    gate(tmp_path / "m.cbm", tmp_path / "right", data=tmp_path / "rows.parquet", limit=50, python=sys.executable)
    monkeypatch.setattr(tables, "_texts", lambda *_: ["a\0", "b", "1"] * 40)
    with pytest.raises(
        ModelError, match=r"rows\.parquet: catboost takes the column 'member' \(bool\) for other values"
    ):
        gate(tmp_path / "m.cbm", tmp_path / "wrong", data=tmp_path / "rows.parquet", limit=50, python=sys.executable)
