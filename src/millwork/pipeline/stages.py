"""Each arrow of the pipeline, run in a worker and kept in the run directory under all that decides it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec

from .. import gpus
from ..artifacts.manifest import stays_inside
from ..compile import compile_steps as lowering
from ..compile.backends import table as backends
from ..compile.backends.base import Artifact
from ..compile.backends.table import Variant
from ..compile.compile_steps import BuildReply, Loaded, Lowered
from ..compile.runners import load as runners
from ..errors import ModelError, TargetError, UsageError
from ..storage.files import sha256_file
from ..storage.run_directory import DONE_FILE, Stage
from ..targets import machine
from ..triton_releases import Release
from ..validators import gate_steps as gate
from ..validators import oracle
from ..validators.gate_steps import MeasureReply, RowsReply, Timed
from ..validators.oracle import Asked
from ..validators.parity import Verdict
from ..validators.rows import net_rows
from ..values import Value
from ..worker import MOST_MEMORY, Failure, Limits
from . import conversions
from .plan import Plan
from .run import BuiltCandidate, CandidateError, Model, Run, Truth

R = TypeVar("R")

LIMITS = Limits(seconds=1800.0, memory_bytes=MOST_MEMORY)
"""A step that takes longer, or more of the machine's memory, has failed."""


CELLS = 60_000_000
FEWEST_ROWS = 2000


class Timing(Value):
    """A build's reply with how long it took: kept together."""

    reply: BuildReply
    seconds: float


def load(run: Run) -> Model:
    """The file -> signature and program, lowered."""
    path = run.plan.model
    run.progress.begin("load", str(path))
    sha256 = _sha256(path)
    data = run.plan.data
    request = lowering.LoadRequest(
        path=str(path),
        margin=run.plan.margin,
        data=str(data or ""),
        label=run.plan.label,
        decided=run.plan.decided,
        task=run.plan.task,
        module=run.plan.module,
        module_path=run.plan.module_path,
    )
    loaded = _step(
        run,
        "load",
        {
            "model": sha256,
            "name": path.name,
            "margin": run.plan.margin,
            "decided": run.plan.decided,
            "tools": _tools("catboost", "torch", "onnxscript"),
            "task": run.plan.task,
            "module": run.plan.module,
            "module_files": _digests(run.plan),
            "data": _sha256(data) if data else "",
            "label": run.plan.label,
        },
        "millwork.compile.compile_steps:load",
        request,
        Loaded,
        subject=f"Reading {path}",
        otherwise=ModelError,
        left=lambda found: (lowering.program_file(found.signature), found.signature.oracle.native_file),
    )
    demand_plain(loaded.value)
    program = loaded.folder / lowering.program_file(loaded.value.signature)
    lowered = _step(
        run,
        "lower",
        {"program": sha256_file(program), "tools": _tools("onnx-ir")},
        "millwork.compile.compile_steps:lower",
        lowering.LowerRequest(program=str(program)),
        Lowered,
        subject=f"Lowering {path}",
        otherwise=ModelError,
        left=lambda _: (
            (lowering.LOWERED_NET_FILE,)
            if loaded.value.signature.is_net
            else (lowering.LOWERED_FILE, lowering.LEAF_MAP_FILE)
        ),
    )
    model = Model(loaded.value, loaded.folder, lowered.value, lowered.folder)
    signature = model.signature
    wrote = f"{signature.provenance.framework} {signature.provenance.framework_version}".strip()
    size = (
        f"{lowered.value.nodes:,} operators, {loaded.value.parameters:,} parameters"
        if signature.is_net
        else f"{lowered.value.trees:,} trees, {lowered.value.nodes:,} nodes"
    )
    run.progress.end(
        f"{wrote}, {signature.objective}, {size}, {len(signature.features.all_names):,} features",
        cached=loaded.cached and lowered.cached,
    )
    for text in signature.notes:
        run.progress.note(text)
    return model


def demand_plain(loaded: Loaded) -> None:
    """ModelError where the process that read the model, which may be in its hands, answers what would make this one
    install something of its choice."""
    found = loaded.signature.oracle
    if found.framework not in runners.DISTRIBUTIONS or not (found.version == "" or runners.is_version(found.version)):
        raise ModelError(f"reading the model gave no framework of ours: {found.framework!r} {found.version[:40]!r}")


def strange(built: Artifact) -> str:
    """What a built candidate asks for that no candidate needs, in a sentence; nothing where it asks for none."""
    if runners.is_runner(built.runner) and all(map(runners.may_be_installed, built.requirements)):
        return ""
    return f"it is to be run by {built.runner[:60]!r}, and needs {', '.join(built.requirements)[:200]}"


def judge_by(run: Run, model: Model) -> Truth:
    """Rows to judge by, and the framework's own answers and leaves for them."""
    plan = run.plan
    run.progress.begin("rows", str(plan.data) if plan.data else "adversarial rows only")
    adversarial, user = _row_limits(len(model.signature.features.all_names), model.lowered.trees)
    if model.signature.is_net:
        adversarial, user = net_rows.limits(model.signature.output)
    request = gate.RowsRequest(
        lowered=str(model.lowered_program),
        signature=model.signature,
        data=str(plan.data or ""),
        label=plan.label,
        adversarial_limit=adversarial,
        user_limit=user,
    )
    key = {
        "lowered": sha256_file(model.lowered_program),
        "data": _sha256(plan.data) if plan.data else "",
        "label": plan.label,
        "features": model.signature.features,
        "output": model.signature.output,
    }
    rows = _step(
        run,
        "rows",
        key,
        "millwork.validators.gate_steps:rows",
        request,
        RowsReply,
        subject="Making rows",
        left=lambda found: (gate.ROWS_FILE, *((gate.LABELS_FILE,) if found.labelled else ())),
    )
    labelled = ", labelled" if rows.value.labelled else ""
    run.progress.end(f"{rows.value.adversarial:,} adversarial, {rows.value.user:,} yours{labelled}", cached=rows.cached)
    for text in rows.value.notes:
        run.progress.note(text)
    run.progress.begin("oracle", f"{model.signature.oracle.framework} {model.signature.oracle.version}")
    interpreter = oracle.interpreter(model.signature.oracle, run.progress.detail, trust=run.plan.trust)
    rows_file, categories = rows.folder / gate.ROWS_FILE, rows.folder / gate.CATEGORIES_FILE
    given = categories if categories.is_file() else None

    def ask(folder: Path) -> Asked:
        return oracle.ask(
            model.signature.oracle,
            model.native,
            rows_file,
            given,
            folder,
            interpreter.python,
            LIMITS,
            confined=not run.plan.trust,
        )

    asked = run.directory.stage(
        "oracle",
        {
            "native": sha256_file(model.native),
            "oracle": model.signature.oracle,
            "rows": sha256_file(rows_file),
            "categories": "" if given is None else sha256_file(given),
            "version": interpreter.version,
        },
        ask,
        Asked,
    )
    run.progress.end(f"{model.signature.oracle.framework} {asked.value.version} itself", cached=asked.cached)
    if interpreter.note:
        run.progress.note(interpreter.note)
    return Truth(rows.value, rows.folder, interpreter, asked.folder, model.signature.is_net)


def on_gpu(run: Run) -> bool:
    """Whether the target is a GPU, and it (or another that was allowed) is here: candidates are then built and run on
    it, under the sandbox's profile for that."""
    return run.plan.target.kind == "gpu" and run.plan.measurable


def _row_limits(features: int, trees: int) -> tuple[int, int]:
    """How many adversarial rows and how many of the user's: fewer where rows are wide or trees many, so that the
    [rows, features] and [rows, trees] matrices of a check stay within some hundred megabytes each."""
    most = max(min(CELLS // max(features, 1), CELLS // max(trees, 1)), FEWEST_ROWS)
    return min(gate.ADVERSARIAL_ROWS, most * 6 // 10), min(gate.USER_ROWS, most * 4 // 10)


def build(run: Run, model: Model, truth: Truth, variant: Variant, release: Release) -> BuiltCandidate | str:
    """One backend's files; or why it can't, in one sentence. CandidateError where the step dies."""
    converted = conversions.hummingbird(run, model, LIMITS) if variant.backend in backends.ELSEWHERE else Path()
    if isinstance(converted, str):
        return converted
    request = lowering.BuildRequest(
        backend=variant.backend,
        lowered=str(model.lowered_program),
        native=str(model.native),
        signature=model.signature,
        release=release.name,
        precision=variant.precision,
        batches=run.plan.traffic.batches if variant.backend in backends.ON_GPU else (1,),
        calibration=str(truth.calibration or "") if model.signature.is_net and variant.precision != "fp32" else "",
        for_gpu=run.plan.target.kind == "gpu",
        converted=str(converted) if converted.name else "",
    )
    key = {
        "backend": variant.backend,
        "precision": variant.precision,
        "lowered": sha256_file(model.lowered_program),
        "native": sha256_file(model.native),
        "signature": model.signature,
        "release": release,
        "tools": _tools("onnx", "onnx-ir", "numpy", "xgboost", "xgboost-cpu", "catboost", "torch", "nvidia-modelopt"),
        "provider": backends.provider(variant.backend),
        "calibration": _content(truth.rows_folder) if request.calibration else "",
        "batches": request.batches,
        "gpu": (gpus.visible(), _engine(variant.backend)) if variant.backend in backends.ON_GPU else (),
        "for_gpu": request.for_gpu and model.signature.is_net,
        "converted": _content(converted) if request.converted else "",
    }

    def produce(folder: Path) -> Timing:
        done = run.executor.run(
            "millwork.compile.compile_steps:build",
            request,
            BuildReply,
            folder=folder,
            limits=LIMITS,
            confined=not run.plan.trust,
            gpu=on_gpu(run),
        )
        if isinstance(done, Failure):
            raise CandidateError(done)
        built = done.value.built
        if built is not None and (built.backend, built.precision) != (variant.backend, variant.precision):
            raise CandidateError(Failure(kind="error", message="it built another candidate than it was asked for"))
        lacking = "" if built is None else strange(built) or _lacking(folder, (built.model_file, *built.files))
        if lacking:
            raise CandidateError(Failure(kind="error", message=lacking))
        return Timing(reply=done.value, seconds=done.seconds)

    stage = run.directory.stage(f"build-{variant.short}", key, produce, Timing)
    built = stage.value.reply.built
    if built is None:
        return stage.value.reply.unsupported
    size = (stage.folder / built.model_file).stat().st_size
    return BuiltCandidate(built, stage.folder, stage.value.seconds, size, stage.cached)


def check(
    run: Run, model: Model, truth: Truth, candidate: BuiltCandidate, threads: int | None = None
) -> Stage[Verdict]:
    """One candidate against the framework, by the plan's threads or by others. CandidateError where the step dies."""
    threads = run.plan.threads if threads is None else threads
    labels = truth.rows_folder / gate.LABELS_FILE
    request = gate.CheckRequest(
        built=candidate.built,
        folder=str(candidate.folder),
        program=str(model.program),
        lowered=str(model.lowered_program),
        leaf_map=str(model.lower_folder / lowering.LEAF_MAP_FILE),
        rows=str(truth.rows_file),
        labels=str(labels) if truth.rows.labelled else "",
        framework_answers=str(truth.answers_file),
        framework_leaves=str(truth.answers_folder / oracle.LEAVES_FILE),
        signature=model.signature,
        tolerance=run.plan.tolerance,
        coverage=truth.rows.coverage,
        threads=threads,
        adversarial=truth.rows.adversarial,
        own_sha256=sha256_file(model.native) if candidate.built.backend == "reference" else "",
    )
    key = {
        "built": _content(candidate.folder),
        "loaded": _content(model.load_folder),
        "lowered": _content(model.lower_folder),
        "rows": _content(truth.rows_folder),
        "framework": _content(truth.answers_folder),
        "tolerance": run.plan.tolerance,
        "threads": threads,
        "machine": machine(),
        "tools": _engine(candidate.built.backend),
    }
    return run.directory.stage(
        f"check-{candidate.built.backend}",
        key,
        lambda folder: _candidate_step(run, truth, "millwork.validators.gate_steps:check", request, Verdict, folder),
        Verdict,
    )


def measure(run: Run, truth: Truth, candidates: list[BuiltCandidate], batches: tuple[int, ...]) -> Stage[MeasureReply]:
    """All candidates in one process, interleaved. CandidateError where the step dies."""
    timed = tuple(Timed(built=c.built, folder=str(c.folder)) for c in candidates)
    request = gate.MeasureRequest(
        candidates=timed,
        rows=str(truth.rows_file),
        skip=truth.rows.adversarial if truth.rows.user else 0,
        batches=batches,
        threads=run.plan.threads,
    )
    key = {
        "built": [_content(c.folder) for c in candidates],
        "rows": _content(truth.rows_folder),
        "batches": batches,
        "threads": run.plan.threads,
        "machine": machine(),
        "host": platform.node(),
        "tools": [_engine(c.built.backend) for c in candidates],
    }
    wanted = {(c.built.id, batch) for c in candidates for batch in batches}

    def produce(folder: Path) -> MeasureReply:
        reply = _candidate_step(run, truth, "millwork.validators.gate_steps:measure", request, MeasureReply, folder)
        try:
            kept = {(samples.id, samples.batch) for samples in gate.read_samples(folder / gate.SAMPLES_FILE)}
        except ModelError as error:
            said = error.message.replace(f"{folder}/", "")
            raise CandidateError(Failure(kind="error", message=f"what it measured can't be read: {said}")) from error
        lines = {(name, line.batch) for name, found in reply.latency.items() for line in found}
        if kept != wanted or lines != wanted:
            raise CandidateError(Failure(kind="error", message="it measured something else than it was asked"))
        return reply

    return run.directory.stage("measure", key, produce, MeasureReply)


def _step(
    run: Run,
    name: str,
    key: Mapping[str, object],
    step: str,
    request: msgspec.Struct,
    reply: type[R],
    *,
    subject: str,
    otherwise: type[ModelError | UsageError] | None = None,
    left: Callable[[R], Iterable[str]],
) -> Stage[R]:
    """A stage that the run can't do without: its failure ends the run. ``left``: the files that a reply promises."""

    def produce(folder: Path) -> R:
        done = run.executor.run(step, request, reply, folder=folder, limits=LIMITS, confined=not run.plan.trust)
        if isinstance(done, Failure):
            if otherwise is None:
                done.raise_(subject=subject)
            done.raise_(otherwise, subject)
        lacking = _lacking(folder, left(done.value))
        if lacking:
            raise ModelError(f"{subject} failed: {lacking}.")
        return done.value

    return run.directory.stage(name, key, produce, reply)


def _lacking(folder: Path, names: Iterable[str]) -> str:
    """What of the files that a step's reply promises isn't there, or isn't its folder's; or nothing."""
    for name in names:
        if not stays_inside(folder, name):
            return f"it named {name[:100]!r}, which isn't a file of its own"
        if not (folder / name).is_file():
            return f"it left no {name}"
    return ""


def _candidate_step(run: Run, truth: Truth, step: str, request: msgspec.Struct, reply: type[R], folder: Path) -> R:
    """``request`` names the rows' file; beside it are their labels and categories."""
    done = run.executor.run(
        step,
        request,
        reply,
        folder=folder,
        limits=LIMITS,
        reads=[truth.rows_folder],
        confined=not run.plan.trust,
        gpu=on_gpu(run),
    )
    if isinstance(done, Failure):
        raise CandidateError(done)
    return done.value


def reason(error: CandidateError) -> tuple[str, bool]:
    """Why a candidate's step failed, and whether that is for want of something that could be installed. A disk that
    is full, or another UsageError, ends the run instead."""
    failure = error.failure
    if failure.error_type == UsageError.__name__:
        failure.raise_()
    missing = failure.error_type == TargetError.__name__
    hint = f" ({failure.error_hint})" if failure.error_hint else ""
    return f"{failure.message}{hint}", missing


def _sha256(path: Path) -> str:
    """The file's hash; where it can't be read, nothing, since the step that reads it says why in its own words."""
    try:
        return sha256_file(path) if path.is_file() else ""
    except OSError:
        return ""


def _digests(plan: Plan) -> str:
    """The factory's own file, and those beside it: what makes a state dict's net."""
    if not plan.module_path:
        return ""
    root = Path(plan.module_path) / plan.module.partition(":")[0].partition(".")[0]
    files = sorted(root.rglob("*.py")) if root.is_dir() else [root.with_suffix(".py")]
    return "".join(_sha256(path) for path in files)


def _content(folder: Path) -> str:
    """All files of a finished stage, as one sha256: ``done`` holds the digest of each."""
    return sha256_file(folder / DONE_FILE)


def _tools(*names: str) -> dict[str, str]:
    """Installed versions of what decides a stage's result."""
    found: dict[str, str] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _engine(backend: str) -> dict[str, str]:
    """The versions of the engine that runs a backend's candidates."""
    engines = {
        "onnx": ("onnxruntime",),
        "tensor": ("onnxruntime",),
        "hummingbird": ("onnxruntime",),
        "fil": ("treelite",),
        "fil-cuda": ("nvforest-cu13", "treelite"),
        "native": ("millwork",),
        "native-cuda": ("millwork", "cuda-bindings"),
        "onnx-cuda": ("onnxruntime-gpu",),
        "onnx-tensorrt": ("onnxruntime-gpu", "tensorrt"),
        "tensorrt": ("tensorrt",),
        "reference": ("xgboost", "xgboost-cpu", "catboost", "torch"),
    }
    return {**_tools(*engines.get(backend, ()), "numpy"), "provider": backends.provider(backend)}
