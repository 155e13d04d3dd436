"""A file's format, by its content; and what is said of files that are in none that is read."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import zipfile
import zlib
from pathlib import Path

import catboost as cb
import joblib
import numpy as np
import pytest
import xgboost as xgb

from millwork.compile.frontends import model_file
from millwork.compile.frontends.sniff import sniff
from millwork.errors import ModelError

FILES = Path(__file__).parent / "files"
ROWS = np.random.default_rng(2).normal(size=(60, 3)).astype(np.float32)
LABELS = (ROWS[:, 0] > 0).astype(int)
QUIET = {"iterations": 2, "depth": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


@pytest.fixture(scope="module")
def xgboost_model() -> xgb.XGBClassifier:
    return xgb.XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1).fit(ROWS, LABELS)


@pytest.fixture(scope="module")
def catboost_model() -> cb.CatBoostClassifier:
    return cb.CatBoostClassifier(**QUIET).fit(ROWS, LABELS)


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as refused:
        sniff(path)
    assert str(path) in refused.value.message
    assert refused.value.exit_code == 3
    return refused.value


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("extension", ["", ".bin", ".pkl", ".json"])
def test_xgboost_whatever_the_name_says(xgboost_model: xgb.XGBClassifier, tmp_path: Path, extension: str) -> None:
    booster = xgboost_model.get_booster()
    assert sniff(written(tmp_path / f"j{extension}", bytes(booster.save_raw("json")))) == "xgboost-json"
    assert sniff(written(tmp_path / f"u{extension}", bytes(booster.save_raw("ubj")))) == "xgboost-ubj"
    handle = bytes(booster.__getstate__()["handle"])
    assert sniff(written(tmp_path / f"h{extension}", handle)) == "xgboost-ubj"


def test_xgboost_json_written_by_hand(xgboost_model: xgb.XGBClassifier, tmp_path: Path) -> None:
    content = json.loads(bytes(xgboost_model.get_booster().save_raw("json")))
    turned = {"note": "mine", "version": content["version"], "learner": content["learner"]}
    indented = json.dumps(turned, indent=2).encode()
    assert sniff(written(tmp_path / "m.json", b"\xef\xbb\xbf\n" + indented)) == "xgboost-json"
    del turned["note"]
    assert sniff(written(tmp_path / "m.json", b"  " + json.dumps(turned).encode())) == "xgboost-json"


@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_catboost(tmp_path: Path, policy: str) -> None:
    model = cb.CatBoostRegressor(**QUIET, grow_policy=policy).fit(ROWS, ROWS[:, 0])
    model.save_model(tmp_path / "m.cbm")
    model.save_model(tmp_path / "m.json", format="json")
    assert sniff(tmp_path / "m.cbm") == "catboost-cbm"
    assert sniff(tmp_path / "m.json") == "catboost-json"


def test_catboost_with_category_tables_first(tmp_path: Path) -> None:
    rows = np.array([[str(n % 7), str(n % 5)] for n in range(60)], object)
    model = cb.CatBoostClassifier(**QUIET, one_hot_max_size=2).fit(rows, LABELS, cat_features=[0, 1])
    model.save_model(tmp_path / "m.json", format="json", pool=cb.Pool(rows, cat_features=[0, 1]))
    assert next(iter(json.loads((tmp_path / "m.json").read_text()))) == "ctr_data"
    assert sniff(tmp_path / "m.json") == "catboost-json"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("extension", [".pkl", ".model", ""])
def test_pickles(
    xgboost_model: xgb.XGBClassifier, catboost_model: cb.CatBoost, tmp_path: Path, protocol: int, extension: str
) -> None:
    for model in (xgboost_model, catboost_model, xgboost_model.get_booster()):
        assert sniff(written(tmp_path / f"m{extension}", pickle.dumps(model, protocol))) == "pickle"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("content", [{"model": 1}, [1, 2], (1, 2)])
def test_a_pickle_of_something_else_is_a_pickle_by_its_extension(
    tmp_path: Path, content: object, protocol: int
) -> None:
    assert sniff(written(tmp_path / "m.pkl", pickle.dumps(content, protocol))) == "pickle"


@pytest.mark.parametrize("compress", [0, 3, ("zlib", 9), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
@pytest.mark.parametrize("extension", [".joblib", ".bin", ""])
def test_joblib(xgboost_model: xgb.XGBClassifier, tmp_path: Path, compress: object, extension: str) -> None:
    path = tmp_path / f"m{extension}"
    joblib.dump(xgboost_model, path, compress=compress)
    assert sniff(path) == "pickle"


def test_a_truncated_compressed_pickle_is_left_to_its_reader(tmp_path: Path) -> None:
    assert sniff(written(tmp_path / "m.joblib", zlib.compress(b"\x80\x04N.")[:3])) == "pickle"


def test_a_compressed_model_of_another_format(xgboost_model: xgb.XGBClassifier, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(xgboost_model.get_booster().save_raw("json")))
    error = refusal(written(tmp_path / "m.json.gz", packed))
    assert "a xgboost-json model, compressed by gzip" in error.message
    assert "Decompress it" in error.hint
    assert (
        "doesn't hold a pickle: it begins with b'hello'"
        in refusal(written(tmp_path / "h", gzip.compress(b"hello"))).message
    )


def test_the_deprecated_binary_format_of_xgboost() -> None:
    error = refusal(FILES / "xgboost-1.7.6.deprecated")
    assert "deprecated binary format" in error.message
    assert 'save_model("model.json")' in error.hint


def test_xgboosts_dumps_are_not_models(xgboost_model: xgb.XGBClassifier, tmp_path: Path) -> None:
    booster = xgboost_model.get_booster()
    booster.dump_model(tmp_path / "dump.txt")
    booster.dump_model(tmp_path / "dump.json", dump_format="json")
    assert "dump_model() text" in refusal(tmp_path / "dump.txt").message
    assert "dump_model() JSON" in refusal(tmp_path / "dump.json").message


def test_others_are_refused_by_name(tmp_path: Path) -> None:
    import onnx

    node = onnx.helper.make_node("Identity", ["a"], ["b"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]), producer_name="p")
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/constants.pkl", b"\x80\x02N.")
    np.savez(tmp_path / "m.npz", a=ROWS)
    for path, said in (
        (written(tmp_path / "m.onnx", model.SerializeToString()), "an ONNX model"),
        (tmp_path / "m.pt", "a TorchScript file"),
        (tmp_path / "m.npz", "a zip archive"),
        (written(tmp_path / "lgb.txt", b"tree\nversion=v4\nnum_class=1\n"), "a LightGBM model"),
        (written(tmp_path / "m.pmml", b'<?xml version="1.0"?><PMML/>'), "PMML is not supported"),
        (written(tmp_path / "m.cbm", b"version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
        (written(tmp_path / "o.json", b'{"weights": [1, 2]}'), "but not a model of XGBoost's or CatBoost's"),
        (written(tmp_path / "e.json", b"{"), "but not a model of XGBoost's or CatBoost's"),
        (written(tmp_path / "t.pkl", b"hello, world"), r"it begins with b'hello, world'"),
        (written(tmp_path / "j.pkl", b'{"weights": 1}'), "but not a model of XGBoost's or CatBoost's"),
        (written(tmp_path / "x", b"\x7fELF\x02\x01"), r"it begins with b'\x7fELF\x02\x01'"),
    ):
        error = refusal(path)
        assert said in error.message
        assert error.hint


def test_an_unknown_format_is_told_what_is_read(tmp_path: Path) -> None:
    hint = refusal(written(tmp_path / "m.txt", b"hello")).hint
    for read in ("XGBoost .json and .ubj", "CatBoost .cbm and .json", ".pkl or .joblib"):
        assert read in hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "none.json").message
    assert "is a folder" in refusal(tmp_path).message
    assert "is empty" in refusal(written(tmp_path / "empty.json", b"")).message
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe").message
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "can't be opened" in refusal(tmp_path / "loop").message
    long = tmp_path / ("x" * 300)
    assert "can't be opened" in refusal(long).message


def test_a_file_over_the_size_limit(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", b"{")
    os.truncate(path, model_file.MAX_BYTES + 1)  # a hole: it takes no space on the disk
    assert f"more than the limit of {model_file.MAX_BYTES}" in refusal(path).message


def test_a_file_this_user_may_not_read(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", b"{}")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        error = refusal(path)
    finally:
        os.seteuid(user)
    assert "permission denied" in error.message
