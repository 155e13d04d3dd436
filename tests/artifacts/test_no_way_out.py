"""No file of a published version leads out of its folder, whoever wrote it: the manifest may be forged, and its digests
right."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from millwork import worker
from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import find_version
from millwork.commands import predict as predict_command
from millwork.commands.predict import PredictReply, PredictRequest
from millwork.errors import ModelError, UsageError
from millwork.storage.files import digest
from millwork.values import Manifest
from millwork.worker import Done, Failure

SECRET = np.arange(2, dtype=np.float32)


def model_with(location: str) -> bytes:
    """rows + weights, whose weights lie in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(SECRET.nbytes))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("Add", ["input__0", "w"], ["output__0"])],
        "g",
        [helper.make_tensor_value_info("input__0", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("output__0", TensorProto.FLOAT, [None, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert isinstance(model, onnx.ModelProto)
    return bytes(model.SerializeToString())


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version's folder in a repository, a secret beside the repository, and a link to it in the folder."""
    folder = tmp_path / "models" / "m" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "golden.npz").write_bytes(b"golden rows")
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 2), np.float32))
    return folder


def predicted(version: Path, manifest: Manifest, location: str, *, confined: bool) -> Done[PredictReply] | Failure:
    """The forged version, asked to predict."""
    (version / "model.onnx").write_bytes(model_with(location))
    listed = tuple(digest(version / name, version) for name in ("model.onnx", "golden.npz"))
    forged = msgspec.structs.replace(manifest, files=listed, runner="onnx_runner", parameters={})
    manifests.write(version, forged)
    assert manifests.read_intact(version) == forged
    own = version.parent.parent.parent / "own"
    own.mkdir(exist_ok=True)
    request = PredictRequest(folder=str(version), manifest=forged, rows=str(own.parent / "rows.npz"))
    return worker.run(
        "millwork.commands.predict:run", request, PredictReply, folder=own, sandbox=worker.Sandbox(on=confined)
    )


@pytest.mark.parametrize("confined", [True, False])
def test_onnx_external_data_stays_in_the_folder(version: Path, manifest: Manifest, confined: bool) -> None:
    """By the sandbox, and by ONNX Runtime itself where there is none."""
    outside = version.parent.parent.parent / "secret.bin"
    for location in ("../../../secret.bin", "sub/../../../../secret.bin", str(outside), "link.bin", "/etc/passwd"):
        done = predicted(version, manifest, location, confined=confined)
        assert isinstance(done, Failure), location
        assert not (outside.parent / "own" / predict_command.ANSWERS_FILE).exists()
        with pytest.raises(ModelError, match=r"^Version 1 of m, asked to predict, failed: ") as told:
            done.raise_(ModelError, "Version 1 of m, asked to predict,")
        assert len(str(told.value).splitlines()) <= 24


def test_external_data_in_the_folder_is_read(version: Path, manifest: Manifest) -> None:
    """Otherwise the test above would show nothing."""
    (version / "weights.bin").write_bytes(SECRET.tobytes())
    done = predicted(version, manifest, "weights.bin", confined=True)
    assert isinstance(done, Done), done
    answers = np.load(version.parent.parent.parent / "own" / predict_command.ANSWERS_FILE)
    assert answers.tolist() == [[0.0, 1.0]] * 3


@pytest.mark.parametrize(
    "name", ["../m", "m/../../x", "/etc", "a/b", "..", ".", "", "m\0", "m\n", "a\\b", "\uff4d", "-m"]
)
def test_a_models_name_is_one_folder(version: Path, name: str) -> None:
    with pytest.raises(UsageError, match="can't be a model's name"):
        find_version(version.parent.parent, name)


def test_a_version_is_a_number(version: Path, tmp_path: Path) -> None:
    for name in ("1..", "..1", "01", "1.0", "+1", "\uff11"):  # the last is a digit that isn't ASCII
        (version.parent / name).symlink_to(tmp_path)
    (version.parent / "config.pbtxt").write_text('name: "m"\nversion_policy { all {} }\n')
    assert find_version(version.parent.parent, "m") == version
