"""Every backend's artifact is the framework: the same leaves, the same numbers, on rows made to tell them apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import treelite
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st
from models import catboost_models, xgboost_models
from models.forests import hard_rows, program_of, random_forest, source_of
from models.gate import Gate, gate

from millwork import triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.onnx.artifact import leaf_probe
from millwork.compile.runners.load import runner
from millwork.errors import ModelError, UsageError
from millwork.passes.forest import leaves
from millwork.passes.program import MissingSentinel, Program, encode, run
from millwork.validators import tolerance

SENTINELS = {"missing--999": -999.0, "missing-0": 0.0, "float32-sentinel": 0.1}
"""What some of the models read as missing beside NaN."""


def judged(source: Path, folder: Path, *, margin: bool = False) -> tuple[Gate, dict[str, Any]]:
    """The gate of the model in ``source``, and what the runner of each built backend answers to the gate's rows. Every
    backend that takes the model has passed."""
    found = gate(source, folder / "gate", margin=margin)
    answers: dict[str, Any] = {}
    for backend in backends.OURS:
        at = folder / backend
        reply = found.build(backend, at)
        if reply.artifact is None:
            answers[backend] = reply.unsupported
            continue
        verdict = found.check(reply.artifact, at)
        assert verdict.passed, f"{backend}: {verdict.reason}"
        assert verdict.parity.leaf_mismatches == 0
        assert verdict.parity.decision_flips == 0
        engine = runner(reply.artifact.runner)(at / reply.artifact.model_file, reply.artifact.parameters, 1)
        answers[backend] = engine.predict(found.rows)
    return found, answers


def framework_says(model: Any, rows: Any) -> Any:
    """The answer [N, K] by the framework's public API, as a user would ask."""
    if isinstance(model, xgb.Booster):
        out = model.predict(xgb.DMatrix(rows), validate_features=False).reshape(len(rows), -1)
        name = objective_of(model)
        if name == "binary:logistic":
            return np.hstack([1 - out, out])
        if name == "multi:softmax":
            margin = model.predict(xgb.DMatrix(rows), output_margin=True)
            power = np.exp(margin - margin.max(axis=1, keepdims=True))
            return power / power.sum(axis=1, keepdims=True)
        return out
    if isinstance(model, xgb.XGBModel):
        return model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)[:, None]
    loss = model.get_all_params()["loss_function"] if model.get_all_params() else "RMSE"
    kind = (
        "Probability"
        if loss in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
        else "Exponent"
        if loss.startswith(("Poisson", "Tweedie"))
        else "RawFormulaVal"
    )
    return model.predict(rows, prediction_type=kind).reshape(len(rows), -1)


def objective_of(model: xgb.Booster) -> str:
    return str(json.loads(model.save_config())["learner"]["objective"]["name"])


@pytest.mark.parametrize("name", xgboost_models.MODELS)
def test_an_xgboost_model_in_every_backend(name: str, tmp_path: Path) -> None:
    made = xgboost_models.model(name)
    found, answers = judged(xgboost_models.save(made, tmp_path / "model.pkl"), tmp_path)
    assert np.array_equal(answers["reference"], found.answers)
    sound = ~np.isinf(found.rows).any(axis=1)  # DMatrix takes no other
    wanted = framework_says(made, found.rows[sound])
    np.testing.assert_allclose(found.answers[sound], wanted, rtol=1e-6, atol=1e-7)
    assert found.answers.shape[1] == len(found.signature.output.labels)
    if name in SENTINELS:
        with np.load(tmp_path / "fil" / "encoder.npz") as tables:
            assert tables["sentinels"].tolist() == [np.float32(SENTINELS[name])]
        assert (found.rows == np.float32(SENTINELS[name])).any()


@pytest.mark.parametrize("name", xgboost_models.MODELS)
def test_xgboosts_margins_are_bit_identical_in_onnx(name: str, tmp_path: Path) -> None:
    found, answers = judged(
        xgboost_models.save(xgboost_models.model(name), tmp_path / "model.pkl"), tmp_path, margin=True
    )
    assert found.signature.output.kind == "margin"
    assert answers["onnx"].tobytes() == found.answers.tobytes()


@pytest.mark.parametrize("margin", [False, True], ids=["answer", "margin"])
@pytest.mark.parametrize("name", catboost_models.MODELS)
def test_a_catboost_model_in_every_backend(name: str, margin: bool, tmp_path: Path) -> None:
    made = catboost_models.model(name)
    found, answers = judged(catboost_models.save(made, tmp_path / "model.cbm"), tmp_path, margin=margin)
    assert np.array_equal(answers["reference"], found.answers)
    wanted = made.predict(found.rows, prediction_type="RawFormulaVal") if margin else framework_says(made, found.rows)
    np.testing.assert_array_equal(found.answers, wanted.reshape(len(wanted), -1).astype(np.float32))
    assert found.answers.shape[1] == len(found.signature.output.labels)


@pytest.mark.parametrize(
    "name", ["lossguide", "lossguide-multiclass", "nan-max-depthwise", "depth-0", "scale-and-bias"]
)
def test_a_catboost_json_in_every_backend(name: str, tmp_path: Path) -> None:
    """CatBoost numbers the leaves of a model that it loads from JSON anew."""
    judged(catboost_models.save(catboost_models.model(name), tmp_path / "model.json"), tmp_path)


# ── programs of any shape ─────────────────────────────────────────────────────────────────────────────────

POSTPROCESSES = ["identity", "binary", "sigmoid", "softmax", "exp"]


def built(backend: str, program: Program, folder: Path, release: str = "25.12") -> Artifact | Unsupported:
    folder.mkdir(exist_ok=True)
    return backends.find(backend).build(program, source_of(), folder, triton_releases.find(release))


def answers_of(made: Artifact, folder: Path, rows: Any) -> Any:
    return runner(made.runner)(folder / made.model_file, made.parameters, 1).predict(rows)


@given(
    shape=st.fixed_dictionaries(
        {
            "seed": st.integers(0, 10**9),
            "trees": st.integers(1, 8),
            "depth": st.integers(0, 6),
            "features": st.integers(1, 6),
            "outputs": st.integers(1, 3),
            "comparison": st.sampled_from(["<", "<="]),
            "vector_leaves": st.booleans(),
            "dtype": st.sampled_from([np.float32, np.float64]),
        }
    ),
    postprocess=st.sampled_from(POSTPROCESSES),
    backend=st.sampled_from(["onnx", "fil"]),
    unused=st.integers(0, 2),
)
@settings(max_examples=120, deadline=None)
def test_a_program_of_any_shape(
    shape: dict[str, Any], postprocess: str, backend: str, unused: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Denormal, huge and signed-zero thresholds; paths that contradict themselves; columns that nothing tests."""
    if postprocess == "binary":
        shape = shape | {"outputs": 1}
    program = program_of(random_forest(**shape), postprocess)
    columns = np.random.default_rng(shape["seed"]).permutation(shape["features"] + unused)[: shape["features"]]
    program = replace(program, columns=columns.astype(np.int32), n_columns=shape["features"] + unused)
    rows = hard_rows(shape["seed"], 100, program.n_columns)
    folder = tmp_path_factory.mktemp("any")
    made = built(backend, program, folder)
    if isinstance(made, Unsupported):
        assert (backend, postprocess) == ("fil", "exp")
        assert program.forest.n_outputs > 1
        return
    leaf = leaves(program.forest, encode(program, rows))
    got = backends.find(backend).leaves(made, folder, rows)
    assert np.array_equal(got, leaf - program.forest.tree_start[:-1])
    wanted, allowed = run(program, rows), tolerance.derive(program, leaf)
    assert np.all(np.abs(answers_of(made, folder, rows) - wanted) <= allowed.abs + allowed.rel * np.abs(wanted))


@pytest.mark.parametrize("sentinel", [-999.0, 0.0, 1.5])
def test_the_sentinel_and_nan_are_missing_in_onnx(sentinel: float, tmp_path: Path) -> None:
    program = replace(program_of(random_forest(3)), encoders=(MissingSentinel(value=sentinel),))
    rows = hard_rows(3, 500, 5)
    rows[::3, 1] = sentinel
    made = built("onnx", program, tmp_path)
    assert isinstance(made, Artifact)
    assert np.array_equal(answers_of(made, tmp_path, rows), run(program, rows))


def test_averaged_trees_are_refused_by_onnx_and_right_in_a_checkpoint(tmp_path: Path) -> None:
    program = program_of(replace(random_forest(5), reduction="average"))
    refused = built("onnx", program, tmp_path)
    assert isinstance(refused, Unsupported)
    assert "averaged" in refused.reason
    made = built("fil", program, tmp_path)
    assert isinstance(made, Artifact)
    rows = hard_rows(5, 200, 5)
    np.testing.assert_allclose(answers_of(made, tmp_path, rows), run(program, rows), rtol=1e-6)


def test_a_checkpoint_refuses_what_treelite_has_no_transform_for(tmp_path: Path) -> None:
    refused = built("fil", program_of(random_forest(1, outputs=3), "exp"), tmp_path)
    assert isinstance(refused, Unsupported)
    assert "exponential" in refused.reason
    assert list(tmp_path.iterdir()) == []


# ── Triton releases ───────────────────────────────────────────────────────────────────────────────────────

RELEASES = [name for name in triton_releases.TABLE if name <= "26.03"]
TREELITES = {triton_releases.TABLE[name].treelite: name for name in RELEASES}


@pytest.mark.parametrize("release", TREELITES.values(), ids=list(TREELITES))
def test_a_checkpoint_of_each_releases_version_reads_back(release: str, tmp_path: Path) -> None:
    program = program_of(random_forest(2, outputs=3, vector_leaves=True, dtype=np.float64, comparison="<="), "softmax")
    made = built("fil", program, tmp_path, release)
    assert isinstance(made, Artifact)
    version = triton_releases.find(release).treelite
    head = np.frombuffer((tmp_path / made.model_file).read_bytes()[:12], "<i4")
    assert ".".join(str(part) for part in head) == version
    assert made.requirements == (f"treelite=={version}",)
    model = treelite.Model.deserialize(str(tmp_path / made.model_file))
    assert model.num_tree == program.forest.n_trees
    assert model.num_feature == program.n_columns
    rows = hard_rows(2, 100, 5)
    np.testing.assert_allclose(answers_of(made, tmp_path, rows), run(program, rows), rtol=1e-5, atol=1e-6)


def test_the_checkpoint_writes_as_treelite_does(tmp_path: Path) -> None:
    """Reading and writing it again gives the same bytes, but for the version."""
    made = built("fil", program_of(random_forest(4), "binary"), tmp_path, "26.03")
    assert isinstance(made, Artifact)
    ours = (tmp_path / made.model_file).read_bytes()
    again = treelite.Model.deserialize_bytes(ours).serialize_bytes()
    assert bytes(again)[12:] == ours[12:]


@pytest.mark.parametrize("release", [*triton_releases.TABLE][:1] + [*triton_releases.TABLE][-1:] + ["24.10", "25.12"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_is_valid_and_within_what_the_release_reads(release: str, dtype: type, tmp_path: Path) -> None:
    program = program_of(random_forest(6, outputs=2, dtype=dtype), "softmax")
    made = built("onnx", program, tmp_path, release)
    assert isinstance(made, Artifact)
    model = onnx.load_model(str(tmp_path / made.model_file))
    onnx.checker.check_model(model, full_check=True)
    limits = triton_releases.find(release).onnx
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    assert 17 <= opsets[""] <= limits.opset
    assert opsets["ai.onnx.ml"] <= limits.ml_opset
    assert model.ir_version <= limits.ir
    (tensor,) = model.graph.input
    assert (tensor.name, tensor.type.tensor_type.elem_type) == ("input__0", onnx.TensorProto.FLOAT)
    (tensor,) = model.graph.output
    assert (tensor.name, tensor.type.tensor_type.elem_type) == ("output__0", onnx.TensorProto.FLOAT)
    assert [d.dim_value for d in tensor.type.tensor_type.shape.dim] == [0, 2]
    rows = hard_rows(6, 100, 5)
    np.testing.assert_allclose(answers_of(made, tmp_path, rows), run(program, rows), rtol=1e-5, atol=1e-6)


# ── the table, and what a broken artifact gives ───────────────────────────────────────────────────────────


def test_an_unknown_backend_is_named_beside_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown backend 'onxx'\nKnown backends: reference, onnx, fil"):
        backends.find("onxx")


def test_each_backend_says_what_it_is() -> None:
    made = [backends.find(name) for name in backends.names()]
    assert [backend.name for backend in made] == list(backends.names())
    assert len({backend.rank for backend in made}) == len(made)
    assert max(made, key=lambda backend: backend.rank).name == "reference"


def test_a_model_of_another_kind_has_no_leaves_to_probe() -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    with pytest.raises(ModelError, match="expected one TreeEnsembleRegressor in the artifact, found 0"):
        leaf_probe(helper.make_model(graph))
