"""What nvcc and NVRTC make of the CUDA kernel: for every GPU of the list, and no register of it spills."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

from millwork.compile import kernel
from millwork.compile.kernel import build_cuda
from millwork.compile.runners import cuda_device

ROOT = Path(__file__).parents[3]
RESULTS, DOCS = ROOT / "benchmarks" / "results" / "cuda.json", ROOT / "docs" / "gpu-kernel.md"
needs_nvcc = pytest.mark.skipif(build_cuda.nvcc() is None, reason="nvcc isn't on the path: nothing to compile with")


def kernels() -> set[str]:
    """By the source's own macros: of bytes and 16 bits, float and double, a value a leaf or one an output."""
    ranks, sums = ("u8", "u16"), ("f32", "f64")
    both = [f"{r}_{s}" for r in ranks for s in sums]
    return {
        *(f"mw_rank_{r}" for r in ranks),
        *(f"mw_finish_{s}" for s in sums),
        *(f"mw_few_{one}" for one in both),
        *(f"mw_{plan}_{one}{wide}" for plan in ("rows", "tiles") for one in both for wide in ("", "_wide")),
    }


def test_the_table_is_of_this_source_and_nothing_spills() -> None:
    """``make cuda`` writes it; whoever changes the source runs that again."""
    held = json.loads(RESULTS.read_text())
    source = hashlib.sha256(build_cuda.SOURCE.read_bytes()).hexdigest()
    assert held["source_sha256"] == source, "run `make cuda` where there is an nvcc"
    found = {(one["kernel"], one["capability"]) for one in held["kernels"]}
    assert found == {(name, capability) for name in kernels() for capability in build_cuda.CAPABILITIES}
    assert not [one for one in held["kernels"] if one["spill_stores"] or one["spill_loads"] or one["stack"]]
    assert max(one["registers"] for one in held["kernels"]) <= 128  # two blocks of 256 threads on a processor


def test_the_documentation_has_the_registers_of_the_table() -> None:
    held = json.loads(RESULTS.read_text())["kernels"]
    told = re.findall(r"^\| `(mw_\w+)` \|" + r" (\d+) \|" * 5 + "$", DOCS.read_text(), re.MULTILINE)
    assert len(told) == 5
    for name, *registers in told:
        assert [str(one["registers"]) for one in held if one["kernel"] == name] == registers


@needs_nvcc
def test_nvcc_compiles_it_without_a_spill(tmp_path: Path) -> None:
    found = build_cuda.build(tmp_path / "forest.fatbin", (90,))
    assert {one.kernel for one in found} == kernels()
    assert all(one.spill_stores == one.spill_loads == one.stack == 0 for one in found)
    assert (tmp_path / "forest.fatbin").stat().st_size > 10_000


def test_what_ptxas_says_is_read() -> None:
    said = """ptxas info    : Compiling entry function 'mw_few_u8_f32' for 'sm_90'
ptxas info    : Function properties for mw_few_u8_f32
    8 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 8 bytes cumulative stack size, 24 bytes smem
"""
    assert build_cuda.told(said) == [build_cuda.Taken("mw_few_u8_f32", 90, 32, 8, 16, 20, 24)]
    with pytest.raises(ValueError, match="doesn't read"):
        build_cuda.told(said.replace("registers", "sandbags"))


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings isn't installed")
def test_nvrtc_compiles_it_where_it_is_installed(tmp_path: Path) -> None:
    try:
        code = cuda_device.compiled(kernel.CUDA / "forest.cu", 80)
    except cuda_device.CudaError as error:
        assert "NVRTC isn't installed: pip install nvidia-cuda-nvrtc" in str(error)  # noqa: PT017 -- then nothing else can be seen
        pytest.skip(str(error))
    assert code[:4] == b"\x7fELF"
    assert {name for name in kernels() if name.encode() in code} == kernels()
    broken = tmp_path / "forest.cu"
    broken.write_text("__global__ void f() { g(); }")
    with pytest.raises(cuda_device.CudaError, match=re.escape(str(broken)) + ".*g"):
        cuda_device.compiled(broken, 80)


@pytest.mark.skipif(importlib.util.find_spec("cuda") is None, reason="cuda-bindings isn't installed")
def test_a_machine_without_a_driver_is_told_so(tmp_path: Path) -> None:
    from millwork import gpus

    if gpus.visible():
        pytest.skip("there is a GPU here")
    with pytest.raises(cuda_device.CudaError, match=r"CUDA|driver"):
        cuda_device.Cuda(tmp_path)
