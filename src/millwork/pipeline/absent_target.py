"""A target that isn't here: what can be known of it without its GPU, and what is left to do where it is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from .. import targets, toolchains
from ..compile.backends.tensorrt import preflight, profiles
from ..errors import TargetError
from ..storage.files import sha256_file
from ..storage.run_directory import Stage
from ..triton.settings import MAX_BATCH
from ..values import CandidateRecord
from ..values.tensorrt_plan import Preflight
from .run import BuiltCandidate, Run
from .stages import LIMITS

GRAPH = ".onnx"
"""How the name of an artifact ends that TensorRT may take."""


def ask(run: Run, candidates: Sequence[tuple[CandidateRecord, BuiltCandidate]]) -> dict[str, Preflight]:
    """For each candidate that is an ONNX graph, by id: whether its engine builds for the plan's target."""
    graphs = [(line, built) for line, built in candidates if built.built.model_file.endswith(GRAPH)]
    if not graphs:
        return {}
    target = run.plan.target
    python = preflight.interpreter()
    run.progress.begin("engines", f"for {target.name}, which isn't here")
    found: dict[str, Preflight] = {}
    fresh = False
    for line, built in graphs:
        if built.built.foreign:
            found[line.id] = preflight.not_plain(target, built.built.foreign)
        elif python is None:
            found[line.id] = preflight.unknown(target, f"not tried: {_how()}")
        else:
            stage = _stage(run, built, python)
            found[line.id], fresh = stage.value, fresh or not stage.cached
    run.progress.end(
        "; ".join(f"{name}: {preflight.words(answer)}" for name, answer in found.items()), cached=not fresh
    )
    return found


def noted(line: CandidateRecord, found: dict[str, Preflight]) -> CandidateRecord:
    """The candidate's line with what was found out of its engine."""
    if line.id not in found:
        return line
    answer = found[line.id]
    reason = "; ".join(part for part in (line.reason, preflight.words(answer)) if part)
    return msgspec.structs.replace(line, reason=reason, preflight=answer)


def absent(run: Run, candidates: Sequence[tuple[CandidateRecord, BuiltCandidate]]) -> TargetError:
    """The end of a run whose target isn't here: what is proved, what is ready, and what is left for the target."""
    plan = run.plan
    ready = ", ".join(line.id for line, _ in candidates)
    engines = [line.id for line, _ in candidates if line.preflight is not None and line.preflight.verdict == "builds"]
    known = f", engines of {', '.join(engines)} known to build for it" if engines else ""
    details = "\n".join(f"  {line.id}: {line.reason}" for line, _ in candidates if line.preflight is not None)
    files = "\n".join(f"  {_near(run, built)}" for _, built in candidates)
    there = targets.instead(plan.target)
    other = f" ({there}: --allow-other-gpu measures on it, and says so)" if there else ""
    return TargetError(
        f"the target {plan.target.name} isn't here{other}: {ready} built and through the parity gate{known}; nothing "
        f"measured or published{':' if details else ''}\n{details}".rstrip(),
        f"Left to do where {plan.target.name} is: engines, parity of what runs on the GPU, latency, tuning, publishing."
        f"\nTake {plan.run_dir} there and give the same command with --run-dir: what is kept in it isn't done again.\n"
        f"Portable artifacts, in {plan.run_dir}:\n{files}",
    )


def _stage(run: Run, built: BuiltCandidate, python: str) -> Stage[Preflight]:
    """Kept under the graph, the target, the profiles and the TensorRT-RTX that is asked."""
    traffic = run.plan.traffic.batches
    ranges = profiles.of(traffic, largest=max(MAX_BATCH, *traffic))
    graph = built.folder / built.built.model_file
    key = {
        "graph": sha256_file(graph),
        "target": run.plan.target,
        "profiles": ranges,
        "builder": _builder(),
        "python": platform.python_version(),
    }

    def produce(folder: Path) -> Preflight:
        return preflight.ask(graph, run.plan.target, ranges, folder, python, LIMITS, confined=not run.plan.trust)

    return run.directory.stage(f"preflight-{built.built.backend}", key, produce, Preflight)


def _builder() -> str:
    """What is asked: the package that is installed here, else what the toolchain is made of."""
    try:
        return version("tensorrt-rtx-cu13")
    except PackageNotFoundError:
        return " ".join(toolchains.named(preflight.TOOLCHAIN).requirements)


def _how() -> str:
    size = toolchains.named(preflight.TOOLCHAIN).mb
    return f"TensorRT-RTX isn't installed (millwork toolchain install {preflight.TOOLCHAIN}, {size} MB)"


def _near(run: Run, built: BuiltCandidate) -> str:
    path = built.folder / built.built.model_file
    return str(path.relative_to(run.plan.run_dir)) if path.is_relative_to(run.plan.run_dir) else str(path)
