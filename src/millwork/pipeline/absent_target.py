"""A target that isn't here: what can be known of it without its GPU, and what is left to do where it is."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from .. import targets, toolchains
from ..compile.backends.tensorrt import preflight, profiles
from ..errors import TargetError
from ..storage.files import sha256_file
from ..storage.run_directory import Stage
from ..values import CandidateRecord
from ..values.contracts import MAX_BATCH
from ..values.tensorrt_plan import Preflight
from .run import Candidate, CheckedCandidate, Run
from .step import LIMITS

GRAPH = ".onnx"
"""How the name of an artifact ends that TensorRT may take."""


def without_target(run: Run, checked: Sequence[CheckedCandidate]) -> tuple[list[CheckedCandidate], TargetError]:
    """The candidates, with what can be known of their engines without the target; and the end of the run."""
    found = _preflights(run, [candidate.built for candidate in checked if candidate.passed])
    noted = [replace(candidate, record=_noted(candidate.record, found)) for candidate in checked]
    return noted, _absent(run, [candidate for candidate in noted if candidate.passed])


def _preflights(run: Run, candidates: Sequence[Candidate]) -> dict[str, Preflight]:
    """For each candidate that is an ONNX graph, by id: whether its engine builds for the plan's target."""
    graphs = [candidate for candidate in candidates if candidate.artifact.model_file.endswith(GRAPH)]
    if not graphs:
        return {}
    target = run.plan.target
    python = preflight.interpreter()
    run.progress.begin("engines", f"for {target.name}, which isn't here")
    found: dict[str, Preflight] = {}
    fresh = False
    for candidate in graphs:
        if candidate.artifact.foreign:
            found[candidate.id] = preflight.not_plain(target, candidate.artifact.foreign)
        elif python is None:
            found[candidate.id] = preflight.unknown(target, f"not tried: {_how()}")
        else:
            stage = _stage(run, candidate, python)
            found[candidate.id], fresh = stage.value, fresh or not stage.cached
    run.progress.end(
        "; ".join(f"{name}: {preflight.words(answer)}" for name, answer in found.items()), cached=not fresh
    )
    return found


def _noted(record: CandidateRecord, found: dict[str, Preflight]) -> CandidateRecord:
    """The candidate's record with what was found out of its engine."""
    if record.id not in found:
        return record
    answer = found[record.id]
    reason = "; ".join(part for part in (record.reason, preflight.words(answer)) if part)
    return msgspec.structs.replace(record, reason=reason, preflight=answer)


def _absent(run: Run, passed: Sequence[CheckedCandidate]) -> TargetError:
    """The end of a run whose target isn't here: what is proved, what is ready, and what is left for the target."""
    plan = run.plan
    records = [candidate.record for candidate in passed]
    ready = ", ".join(record.id for record in records)
    engines = [r.id for r in records if r.preflight is not None and r.preflight.verdict == "builds"]
    known = f", engines of {', '.join(engines)} known to build for it" if engines else ""
    details = "\n".join(f"  {record.id}: {record.reason}" for record in records if record.preflight is not None)
    files = "\n".join(f"  {_near(run, candidate.built)}" for candidate in passed)
    there = targets.instead(plan.target)
    other = f" ({there}: --allow-other-gpu measures on it, and says so)" if there else ""
    return TargetError(
        f"the target {plan.target.name} isn't here{other}: {ready} built and through the parity gate{known}; nothing "
        f"measured or published{':' if details else ''}\n{details}".rstrip(),
        f"Left to do where {plan.target.name} is: engines, parity of what runs on the GPU, latency, tuning, publishing."
        f"\nTake {plan.run_dir} there and give the same command with --run-dir: what is kept in it isn't done again.\n"
        f"Portable artifacts, in {plan.run_dir}:\n{files}",
    )


def _stage(run: Run, candidate: Candidate, python: str) -> Stage[Preflight]:
    """Kept under the graph, the target, the profiles and the TensorRT-RTX that is asked."""
    traffic = run.plan.traffic.batches
    ranges = profiles.of(traffic, largest=max(MAX_BATCH, *traffic))
    graph = candidate.model_file
    key = {
        "graph": sha256_file(graph),
        "target": run.plan.target,
        "profiles": ranges,
        "builder": _builder(),
        "python": platform.python_version(),
    }

    def produce(folder: Path) -> Preflight:
        return preflight.ask(graph, run.plan.target, ranges, folder, python, LIMITS, confined=not run.plan.trust)

    return run.directory.stage(f"preflight-{candidate.artifact.backend}", key, produce, Preflight)


def _builder() -> str:
    """What is asked: the package that is installed here, else what the toolchain is made of."""
    try:
        return version("tensorrt-rtx-cu13")
    except PackageNotFoundError:
        return " ".join(toolchains.named(preflight.TOOLCHAIN).requirements)


def _how() -> str:
    size = toolchains.named(preflight.TOOLCHAIN).mb
    return f"TensorRT-RTX isn't installed (millwork toolchain install {preflight.TOOLCHAIN}, {size} MB)"


def _near(run: Run, candidate: Candidate) -> str:
    path = candidate.model_file
    return str(path.relative_to(run.plan.run_dir)) if path.is_relative_to(run.plan.run_dir) else str(path)
