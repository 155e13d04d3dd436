"""A typed ONNX graph to a ``tensorrt`` candidate: where there is a TensorRT and a GPU, an engine; else why not."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from .... import gpus
from ....environments import cache_folder
from ....storage.files import atomic_write, sha256_file
from ....storage.opening import read_limited
from ....values.tensorrt_plan import Hardware, PlanFacts
from ...runners import runner_rows
from ..base import Artifact, Unsupported
from . import engine
from .profiles import Profile
from .protocol import Module

MODULE, PLAN_FILE, RUNNER = "tensorrt", "model.plan", "tensorrt_runner"
LARGEST_GRAPH = 64
"""Batches up to it are recorded as CUDA graphs: beyond it, launching kernels isn't what takes the time."""


def build(
    onnx: Path,
    precision: str,
    profiles: Sequence[Profile],
    folder: Path,
    *,
    hardware: Hardware = "NONE",
    version_compatible: bool = False,
) -> Artifact | Unsupported:
    """The engine of ``onnx`` for this machine's first GPU, in ``folder``; its precision is the graph's own."""
    if not gpus.visible():
        return no_gpu()
    if importlib.util.find_spec(MODULE) is None:
        return Unsupported(reason=f"tensorrt: TensorRT isn't installed ({runner_rows.find(RUNNER).hint})")
    gpu, api = gpus.visible()[0], importlib.import_module(MODULE)
    facts = PlanFacts(
        flavour="tensorrt",
        build=api.__version__,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        onnx_sha256=sha256_file(onnx),
        profiles=tuple(profiles),
        hardware=hardware,
        version_compatible=version_compatible,
    )
    made = _built(api, onnx, facts)
    if isinstance(made, Unsupported):
        return made
    (folder / PLAN_FILE).write_bytes(made.plan)
    return _artifact(precision, facts)


def _built(api: Module, onnx: Path, facts: PlanFacts) -> engine.EnginePlan | Unsupported:
    """The engine that ``facts`` describe. Its timings are kept for the next one."""
    timings = timing_cache(facts.build, facts.gpu)
    settings = engine.Settings(
        profiles=facts.profiles,
        hardware=facts.hardware,
        version_compatible=facts.version_compatible,
        timing_cache=kept(timings),
    )
    try:
        made = engine.build(api, onnx, settings)
    except engine.VersionError as error:
        return Unsupported(reason=f"tensorrt: {error}")
    if isinstance(made, engine.Refused):
        return Unsupported(reason=f"tensorrt: {made.problems[0].words}")
    keep(timings, made.timing_cache)
    return made


def _artifact(precision: str, facts: PlanFacts) -> Artifact:
    """The candidate of a folder that holds the engine."""
    graphs = ",".join(str(tuned) for _, tuned, _ in facts.profiles if tuned <= LARGEST_GRAPH)
    return Artifact(
        backend="tensorrt",
        precision=precision,
        model_file=PLAN_FILE,
        runner=RUNNER,
        triton_backend="tensorrt",
        parameters={"graphs": graphs} if graphs else {},
        requirements=("tensorrt", "cuda-python"),
        plan=facts,
    )


def no_gpu() -> Unsupported:
    return Unsupported(
        reason="tensorrt: this machine has no NVIDIA GPU; --target NAME checks whether the graph builds for one, "
        "and the engine is built on a machine that has it"
    )


def timing_cache(build_version: str, gpu: str) -> Path:
    """Where the timings of one TensorRT on one model of GPU are kept: they hold for no other."""
    name = "".join(c if c.isalnum() or c in ".-" else "-" for c in f"{build_version}-{gpu}")
    return cache_folder() / "timings" / f"{name}.cache"


def kept(path: Path) -> bytes:
    """What an earlier build left; nothing where that can't be read."""
    try:
        return read_limited(path)
    except OSError:
        return b""


def keep(path: Path, timings: bytes) -> None:
    """What another process wrote meanwhile is replaced: a timing that is lost is taken again. A cache that can't be
    written (in a sandbox, say) is done without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, timings)
    except OSError:
        return
