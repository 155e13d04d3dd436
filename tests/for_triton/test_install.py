"""What is installed: the server's parts, the tool that measures it, and an installation of the user's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from models.jobs import millwork

from millwork.errors import UsageError
from millwork.triton import install

if TYPE_CHECKING:
    from millwork.triton.install import Installation

onnx = pytest.importorskip("onnx")


@pytest.mark.triton
def test_perf_analyzer_runs(triton_installation: Installation) -> None:
    assert triton_installation.perf_analyzer
    libraries = {"LD_LIBRARY_PATH": os.pathsep.join(triton_installation.perf_libraries)}
    ran = subprocess.run(
        [triton_installation.perf_analyzer, "--version"],
        env={**os.environ, **libraries},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert install.TRITON_VERSION in ran.stdout + ran.stderr


@pytest.mark.triton
def test_installing_again_gives_the_same(triton_installation: Installation) -> None:
    said: list[str] = []
    assert install.install(said.append) == triton_installation == install.find()
    assert said == []


@pytest.mark.triton
def test_its_python_reads_what_the_onnx_writer_here_writes_for_its_release(
    triton_installation: Installation, tmp_path: Path
) -> None:
    from millwork import triton_releases

    limits = triton_releases.find("24.10").onnx
    domains = [onnx.helper.make_opsetid("", limits.opset), onnx.helper.make_opsetid("ai.onnx.ml", limits.ml_opset)]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 2])
    node = onnx.helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[2.0])
    graph = onnx.helper.make_graph([node], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=limits.ir)
    onnx.save(model, str(tmp_path / "m.onnx"))
    code = (
        "import sys, numpy as np, onnxruntime as ort\n"
        "session = ort.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])\n"
        "print(np.__version__.split('.')[0], session.run(None, {'x': np.ones((1, 2), np.float32)})[0].tolist())\n"
    )
    assert triton_installation.environment
    python = triton_installation.environment.python
    ran = subprocess.run([python, "-c", code, str(tmp_path / "m.onnx")], capture_output=True, text=True)
    assert ran.stdout.strip() == "1 [[2.0, 2.0]]", ran.stderr


@pytest.mark.triton
def test_status_as_json_says_versions_and_size(triton_installation: Installation) -> None:
    ran = millwork("triton", "status", "--json")
    assert ran.code == 0
    found = msgspec.json.decode(ran.out, type=install.Status)
    assert found.installed
    assert (found.triton, found.release, found.problems) == ("2.51.0", "24.10", ())
    assert found.bytes > 100_000_000
    assert found.packages["numpy"].startswith("1.")
    assert found.packages["nvidia-pytriton"] == "0.7.0"


def test_status_without_one_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path))
    assert install.find() is None
    ran = millwork("triton", "status")
    assert ran.code == 0
    assert "millwork triton install" in ran.out
    assert ran.err == ""


def test_an_installation_of_the_users_is_taken_by_folder_or_by_program(tmp_path: Path) -> None:
    program = tmp_path / "tritonserver" / "bin" / "tritonserver"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="there is no tritonserver program"):
        install.at(tmp_path / "tritonserver")
    program.chmod(0o755)
    found = install.at(tmp_path / "tritonserver")
    assert found == install.at(program)
    assert found.server == str(program)
    assert found.backends == str(tmp_path / "tritonserver" / "backends")
    assert found.environment is None


def test_the_servers_python_is_first_and_nothing_points_it_elsewhere(triton_installation: Installation) -> None:
    variables = install.server_variables(
        triton_installation,
        {"PATH": "/bin", "PYTHONPATH": "/elsewhere", "LD_LIBRARY_PATH": "/own", "OTHER": "kept"},
        store=False,
    )
    assert triton_installation.environment
    assert variables["PATH"] == f"{triton_installation.environment.python.parent}:/bin"
    assert variables["LD_LIBRARY_PATH"].endswith(":/own")
    assert "PYTHONPATH" not in variables
    assert variables["OTHER"] == "kept"


@pytest.mark.parametrize("store", [True, False])
def test_the_server_gets_no_secret_but_its_stores(store: bool, triton_installation: Installation) -> None:
    """The model runs in it. It reads an object store itself, and no other repository needs those credentials."""
    never = {"MILLWORK_KEY_PASSWORD", "PIP_INDEX_URL", "HF_TOKEN", "my_password", "CLIENT_SECRET", "VENDOR_API_KEY"}
    of_stores = {
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
    others = {"HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM", "HTTPS_PROXY"}
    given = dict.fromkeys(never | of_stores | others, "x")
    got = install.server_variables(triton_installation, given, store=store)
    assert set(given) & set(got) == others | (of_stores if store else set())
