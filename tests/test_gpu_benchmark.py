"""benchmarks/gpu: the list names all that only a GPU runs; run.py tells right from wrong; bundles come back whole."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from millwork.compile.backends import table as backends
from millwork.compile.runners.runner_rows import RUNNERS

ROOT = Path(__file__).resolve().parent.parent
GPU = ROOT / "benchmarks" / "gpu"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, GPU / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    try:
        spec.loader.exec_module(found)
    finally:
        del sys.modules[name]
    return found


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "models"
    done = python(GPU / "make_models.py", folder, "--only", "small,net")
    assert done.returncode == 0, done.stderr[-500:]
    return folder


def run(models: Path, out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    done = python(GPU / "run.py", "--models", models, "--out", out, *options)
    return done.returncode, json.loads(out.read_text()), done.stdout


def test_the_list_names_every_part_and_all_that_needs_a_gpu() -> None:
    text = (GPU / "README.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    declared = re.search(r"PARTS: .*?\n}", (GPU / "parts.py").read_text(), re.DOTALL)
    assert declared is not None
    assert rows == re.findall(r'"([a-z-]+)":', declared.group())
    for row in backends.ROWS:
        assert not row.gpu or f"`{row.name}`" in text, f"{row.name} runs on a GPU only, and the list doesn't have it"
    for name, runner in RUNNERS.items():
        assert runner.extra != "gpu" or f"{name}.py" in text, (
            f"{name} needs the extra gpu, and the list doesn't have it"
        )
    for path in re.findall(r"`((?:compile|src|artifacts|validators|benchmarks)/[^`]*)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has NVIDIA's driver")
def test_without_a_gpu_everything_says_so(models: Path, tmp_path: Path) -> None:
    code, document, table = run(models, tmp_path / "out.json")
    assert code == 0
    assert {line["state"] for line in document["lines"]} == {"not measured"}
    assert all(line["why"].startswith("no GPU here") for line in document["lines"])
    assert table.count("no GPU here") == len(document["lines"]) == 9
    assert document["gpus"] == []


def test_a_rehearsal_checks_and_times_by_the_cpu(models: Path, tmp_path: Path) -> None:
    code, document, table = run(
        models, tmp_path / "out.json", "--rehearse", "--parts", "native-cuda,onnx-cuda,torch", "--batches", "1,7"
    )
    assert code == 0, table
    assert table.startswith("REHEARSAL on a CPU")
    kernel, onnx, torch = document["lines"]
    assert kernel["state"] == "not measured"
    for line in (onnx, torch):
        assert line["state"] == "right", line["why"]
        assert line["parity"]["rows"] > 500
        assert [figure["batch"] for figure in line["figures"]] == [1, 7]
        assert all(figure["run_p50_us"] > 0 and figure["inputs"] >= 3 for figure in line["figures"])
    assert onnx["notes"] == "CPUExecutionProvider"
    assert "numpy" in document["versions"]


def test_a_wrong_answer_is_found_and_not_timed(models: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "models"
    shutil.copytree(models / "net", wrong / "net")
    with np.load(models / "net" / "expected.npz") as held:
        arrays = dict(held)
    arrays["answers"] = arrays["answers"].copy()
    arrays["answers"][-1, 0] += np.float32(0.01)
    np.savez(wrong / "net" / "expected.npz", **arrays)
    code, document, table = run(wrong, tmp_path / "out.json", "--rehearse", "--parts", "onnx-cuda,nvforest")
    assert code == 1
    onnx, nvforest = document["lines"]
    assert (onnx["state"], onnx["figures"]) == ("wrong", [])
    assert (nvforest["state"], nvforest["why"]) == ("not measured", "no model of a forest was given (--models)")
    assert "wrong" in table


def test_an_unknown_part_is_a_usage_error() -> None:
    done = python(GPU / "run.py", "--parts", "cuda")
    assert done.returncode == 2
    assert "unknown part 'cuda'" in done.stderr


def test_our_kernel_is_compared_with_the_best_that_the_peer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(GPU)
    program = module("run")

    def line(part: str, *figures: tuple[int, float]) -> Any:
        return program.Line(part, model="m", figures=[{"batch": b, "run_p50_us": us} for b, us in figures])

    lines = [
        line("native-cuda", (1, 8.0), (1, 4.0), (64, 9.0)),
        line("nvforest", (1, 20.0)),
        line("nvforest", (1, 10.0)),
    ]
    assert program.compared(lines) == [{"model": "m", "batch": 1, "times": 2.5, "of": "nvforest"}]
    assert program.compared(lines[1:]) == []


# ── bundles ───────────────────────────────────────────────────────────────────────────────────────────────────

LIMIT = 200_000


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, Path]]:
    """Wheels that aren't: one larger than a bundle, several that share one, an empty one."""
    rng = np.random.default_rng(0)
    found = []
    for number, size in enumerate((450_000, 90_000, 60_000, 30_000, 511, 512, 0)):
        path = tmp_path / f"w{number}.whl"
        path.write_bytes(rng.bytes(size))
        found.append((f"wheels/{path.name}", path))
    return found


def test_bundles_are_within_the_limit_and_come_back_whole(files: list[tuple[str, Path]], tmp_path: Path) -> None:
    out, into = tmp_path / "out", tmp_path / "into"
    out.mkdir()
    index = module("bundle").write(out, files, LIMIT)
    sizes = [path.stat().st_size for path in sorted(out.glob("bundle-*.tar"))]
    assert all(size <= LIMIT for size in sizes)
    assert len(sizes) == len(index["bundles"]) == 5
    done = python("-I", out / "unpack.py", into)
    assert done.returncode == 0, done.stderr
    assert "7 files, all whole" in done.stdout
    for name, path in files:
        assert (into / name).read_bytes() == path.read_bytes()
    assert sorted(into.iterdir()) == [into / "wheels"], "nothing else is left"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "missing; index.json lists"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "damaged: sha256"),
    ],
)
def test_a_bundle_that_is_missing_or_damaged_is_named(
    harm: Callable[[Path], object], said: str, files: list[tuple[str, Path]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    module("bundle").write(out, files, LIMIT)
    harm(out / "bundle-02.tar")
    done = python("-I", out / "unpack.py", tmp_path / "into")
    assert done.returncode == 1
    assert "bundle-02.tar" in done.stderr
    assert said in done.stderr


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout: the source is what git lists")
def test_the_whole_bundle_runs_where_it_is_unpacked(models: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "fake-1.0-py3-none-any.whl").write_bytes(b"fake" * 100)
    done = python(GPU / "bundle.py", tmp_path / "out", "--models", models, "--wheels", wheels)
    assert done.returncode == 0, done.stderr[-500:]
    assert python("-I", tmp_path / "out" / "unpack.py", tmp_path / "work").returncode == 0
    there = tmp_path / "work"
    assert (there / "src" / "millwork" / "compile").is_symlink()
    done = python(
        there / "benchmarks" / "gpu" / "run.py", "--out", tmp_path / "out.json", "--rehearse", "--parts", "torch"
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert "torch net" in done.stdout
    assert " right (" in done.stdout
