"""``native-cuda``: the forest packed for our own CUDA kernel, its source beside it. Artifact where an NVIDIA GPU is.

Triton serves it by our own backend, in C++ (compile/kernel/triton), or by the python backend with cuda_runner.

The kernels' code is ``forest.fatbin``, which ``make cuda`` made of the same source; without it NVRTC compiles them for
the GPU that is here. Up to how many rows the small-batch plan is the faster one is measured here, on that GPU.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .... import gpus
from ....passes.forest import Rows
from ....passes.program import Program
from ....triton_releases import Release
from ... import kernel
from ...runners import cuda_device, cuda_dlpack, cuda_forest, cuda_runner, runner_rows
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from . import cuda_file

MODEL_FILE, MODULE, RUNNER = "forest.cuda", "cuda.bindings", "cuda_runner"
BESIDE = (cuda_device.__file__, cuda_dlpack.__file__, cuda_forest.__file__)
"""What the runner imports, and takes along."""


@dataclass(frozen=True)
class NativeCuda:
    name: str = "native-cuda"
    precision: str = "fp32"
    rank: int = 7

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        if reason := cuda_file.refused(program) or absent():
            return Unsupported(reason=f"{self.name}: {reason}")
        path = folder / MODEL_FILE
        cuda_file.write(program, path)
        try:
            beside = put_kernels(folder, gpus.visible()[0].compute_capability)
            limit = cuda_runner.crossover(cuda_runner.Runner(path, {}, 1))
        except cuda_device.CudaError as error:
            return Unsupported(reason=f"{self.name}: {error}")
        return built(program, beside, limit)

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        return cuda_runner.Runner(folder / artifact.model_file, artifact.parameters, 1).leaves(rows)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        """The file's arrays, all of them, beside those that the program makes: leaves and bits are asked of the GPU."""
        held = cuda_forest.read(folder / artifact.model_file)
        _, wanted = cuda_file.packed(program)
        names = cuda_forest.SECTIONS
        return (
            np.concatenate([np.asarray(held.arrays[name], np.float64) for name in names]),
            np.concatenate([np.asarray(wanted[name], np.float64) for name in names]),
        )

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf


def backend() -> Backend:
    return NativeCuda()


def absent() -> str:
    """What this machine lacks for it; empty where it lacks nothing."""
    if not gpus.visible():
        return "this machine has no NVIDIA GPU"
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec(MODULE) is None:
        return f"cuda-bindings isn't installed ({runner_rows.find(RUNNER).hint})"
    return ""


def built(program: Program, beside: tuple[str, ...], limit: int) -> Artifact:
    """The candidate of a folder that holds its files."""
    decision = program.decision
    labels = {} if decision is None else {"decision": decision.how, "cut": repr(decision.cut)}
    return Artifact(
        backend="native-cuda",
        precision="fp32",
        model_file=MODEL_FILE,
        runner=RUNNER,
        triton_backend=kernel.TRITON_BACKEND,
        parameters={"crossover": str(limit), "tensors": "device", **labels},
        requirements=("cuda-bindings",),
        files=beside,
    )


def put_kernels(folder: Path, capability: str) -> tuple[str, ...]:
    """The kernels' source and code, and the runner's own modules, into ``folder``: their names."""
    own = kernel.CUDA
    shutil.copyfile(own / cuda_device.SOURCE, folder / cuda_device.SOURCE)
    fatbin = folder / cuda_device.FATBIN
    if (own / cuda_device.FATBIN).is_file():
        shutil.copyfile(own / cuda_device.FATBIN, fatbin)
    else:
        fatbin.write_bytes(cuda_device.compiled(own / cuda_device.SOURCE, int(capability.replace(".", ""))))
    for path in map(Path, BESIDE):
        shutil.copyfile(path, folder / path.name)
    return (cuda_device.SOURCE, cuda_device.FATBIN, *(Path(path).name for path in BESIDE))
