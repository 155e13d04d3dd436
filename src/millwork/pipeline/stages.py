"""Each arrow of the main job up to the measuring, run in a process of its own and kept under all that decides it."""

from __future__ import annotations

import platform
from pathlib import Path

from .. import gpus, toolchains
from ..compile import compile_steps
from ..compile.backends import table as backends
from ..compile.backends.base import Artifact
from ..compile.backends.forms import BackendForm
from ..compile.backends.hummingbird import conversion
from ..compile.backends.hummingbird.conversion import Converted
from ..compile.compile_steps import (
    BuildReply,
    BuildRequest,
    Fed,
    FeedRequest,
    Loaded,
    LoadRequest,
    Lowered,
    LowerRequest,
)
from ..compile.runners import load as runners
from ..compile.runners.runner_rows import FRAMEWORKS
from ..errors import ModelError
from ..storage.files import sha256_file
from ..storage.frames import FRAME_FILE
from ..storage.run_directory import Stage
from ..targets import machine
from ..triton_releases import Release
from ..validators import gate_steps, oracle
from ..validators.gate_steps import CheckRequest, MeasureReply, MeasureRequest, RowsReply, RowsRequest
from ..validators.oracle import Asked
from ..validators.parity import Verdict
from ..validators.rows import net_rows
from ..values import Value
from .cache_key import content, engine, tools
from .run import Candidate, Model, Run, Truth
from .step import LIMITS, Required, Step, StepError, missing_files, on_gpu, required, run_step, succeeded

CELLS = 60_000_000
FEWEST_ROWS, WIDE, LEAST_ROWS = 2000, 30_000, 50
"""Rows times features, trees or outputs that a check may hold at once; and rows that it has all the same."""


# ── load and lower ────────────────────────────────────────────────────────────────────────────────────────


def load(run: Run) -> Model:
    """The file -> signature and program, lowered."""
    run.progress.begin("load", str(run.plan.model))
    require_known_framework((loaded := _loaded(run)).value)
    lowered = _lowered(run, loaded)
    model = Model(loaded.value, loaded.folder, lowered.value, lowered.folder)
    run.progress.end(_described(model), cached=loaded.cached and lowered.cached)
    for text in model.signature.notes:
        run.progress.note(text)
    return model


def _loaded(run: Run) -> Stage[Loaded]:
    plan = run.plan
    with run.given.importable(plan) as (module_path, reads):
        request = LoadRequest(
            path=str(plan.model),
            margin=plan.margin,
            data=str(plan.data or ""),
            label=plan.label,
            decided=plan.decided,
            task=plan.task,
            module=plan.module,
            module_path=module_path,
        )
        key = {
            "model": run.given.model.sha256,
            "name": plan.model.name,
            "margin": plan.margin,
            "decided": plan.decided,
            "tools": tools("catboost", "torch", "onnxscript"),
            "task": plan.task,
            "module": plan.module,
            "module_files": run.given.module_sha256,
            "data": run.given.data_sha256,
            "label": plan.label,
        }
        return required(
            run,
            Required("load", f"Reading {plan.model}", ModelError),
            key,
            Step("millwork.compile.compile_steps:load", request, Loaded, reads=(*run.given.reads, *reads)),
            lambda found: (compile_steps.program_file(found.signature), found.signature.oracle.native_file),
        )


def _lowered(run: Run, loaded: Stage[Loaded]) -> Stage[Lowered]:
    signature = loaded.value.signature
    program = loaded.folder / compile_steps.program_file(signature)
    return required(
        run,
        Required("lower", f"Lowering {run.plan.model}", ModelError),
        {"program": sha256_file(program), "tools": tools("onnx-ir")},
        Step("millwork.compile.compile_steps:lower", LowerRequest(program=str(program)), Lowered),
        lambda _: compile_steps.lowered_files(signature),
    )


def _described(model: Model) -> str:
    """The model in a line."""
    signature, lowered = model.signature, model.lowered
    wrote = f"{signature.provenance.framework} {signature.provenance.framework_version}".strip()
    size = f"{lowered.trees:,} trees, {lowered.nodes:,} nodes"
    if signature.is_net:
        size = f"{lowered.nodes:,} operators, {model.loaded.parameters:,} parameters"
    return f"{wrote}, {signature.objective}, {size}, {len(signature.features.all_names):,} features"


def require_known_framework(loaded: Loaded) -> None:
    """ModelError where the process that read the model, which may be in its hands, answers what would make this one
    install something of its choice."""
    found = loaded.signature.oracle
    if found.framework not in FRAMEWORKS or not (found.version == "" or runners.is_version(found.version)):
        raise ModelError(f"reading the model gave no framework of ours: {found.framework!r} {found.version[:40]!r}")


# ── the rows to judge by, and the framework's answers ─────────────────────────────────────────────────────


def judge_by(run: Run, model: Model) -> Truth:
    """Rows to judge by, and the framework's own answers and leaves for them."""
    rows = _rows(run, model)
    spec = model.signature.oracle
    run.progress.begin("oracle", f"{spec.framework} {spec.version}")
    interpreter = oracle.interpreter(spec, run.progress.detail, trust=run.plan.trust)
    rows_file, categories = rows.folder / gate_steps.ROWS_FILE, rows.folder / gate_steps.CATEGORIES_FILE
    given = categories if categories.is_file() else None
    frame = rows.folder / FRAME_FILE

    def ask(folder: Path) -> Asked:
        confined = not run.plan.trust
        return oracle.ask(spec, model.native, rows_file, given, folder, interpreter.python, LIMITS, confined=confined)

    key = {
        "native": sha256_file(model.native),
        "oracle": spec,
        "rows": sha256_file(rows_file),
        "categories": "" if given is None else sha256_file(given),
        "frame": sha256_file(frame) if frame.is_file() else "",
        "version": interpreter.version,
    }
    asked = run.directory.stage("oracle", key, ask, Asked)
    oracle.require_as_read(asked.value, model.signature, str(run.plan.data or ""))
    run.progress.end(f"{spec.framework} {asked.value.version} itself", cached=asked.cached)
    refused = asked.value.told.frame.error
    if refused:
        run.progress.note(f"{spec.framework} itself doesn't take the rows as they are: {refused}")
    if interpreter.note:
        run.progress.note(interpreter.note)
    return Truth(rows.value, rows.folder, interpreter, asked.folder, model.signature.is_net)


def _rows(run: Run, model: Model) -> Stage[RowsReply]:
    plan, signature = run.plan, model.signature
    run.progress.begin("rows", str(plan.data) if plan.data else "adversarial rows only")
    adversarial, user = _row_limits(model)
    if signature.is_net:
        adversarial, user = net_rows.limits(signature.output)
    request = RowsRequest(
        lowered=str(model.lowered_program),
        signature=signature,
        data=str(plan.data or ""),
        label=plan.label,
        adversarial_limit=adversarial,
        user_limit=user,
    )
    key = {
        "lowered": sha256_file(model.lowered_program),
        "data": run.given.data_sha256,
        "label": plan.label,
        "features": signature.features,
        "output": signature.output,
    }
    rows = required(
        run,
        Required("rows", "Making rows"),
        key,
        Step("millwork.validators.gate_steps:rows", request, RowsReply, reads=run.given.reads),
        lambda found: (gate_steps.ROWS_FILE, *((gate_steps.LABELS_FILE,) if found.labelled else ())),
    )
    labelled = ", labelled" if rows.value.labelled else ""
    run.progress.end(f"{rows.value.adversarial:,} adversarial, {rows.value.user:,} yours{labelled}", cached=rows.cached)
    for text in rows.value.notes:
        run.progress.note(text)
    return rows


def _row_limits(model: Model) -> tuple[int, int]:
    """How many adversarial rows and how many of the user's: fewer where features, trees or outputs are many, so that
    the matrices of a check, [rows, each of them], stay within some hundred megabytes each."""
    features, output = model.signature.features, model.signature.output
    widest = max(len(features.all_names), model.lowered.trees, len(output.labels), len(output.classes), 1)
    most = max(CELLS // widest, FEWEST_ROWS if widest <= WIDE else LEAST_ROWS)
    return min(gate_steps.ADVERSARIAL_ROWS, most * 6 // 10), min(gate_steps.USER_ROWS, most * 4 // 10)


# ── build ─────────────────────────────────────────────────────────────────────────────────────────────────


class Timing(Value):
    """A build's reply with how long it took: kept together."""

    reply: BuildReply
    seconds: float


def build(run: Run, model: Model, truth: Truth, form: BackendForm, release: Release) -> Candidate | str:
    """One backend's files; or why it can't, in one sentence. StepError where the step dies."""
    row = backends.row(form.backend)
    converted = _converted(run, model) if row.toolchain else Path()
    if isinstance(converted, str):
        return converted
    request = BuildRequest(
        backend=form.backend,
        lowered=str(model.lowered_program),
        native=str(model.native),
        signature=model.signature,
        release=release.name,
        precision=form.precision,
        batches=run.plan.traffic.batches if row.gpu else (1,),
        calibration=str(truth.calibration or "") if model.signature.is_net and form.precision != "fp32" else "",
        for_gpu=run.plan.target.kind == "gpu",
        converted=str(converted) if converted.name else "",
    )
    step = Step("millwork.compile.compile_steps:build", request, BuildReply, gpu=on_gpu(run))

    def produce(folder: Path) -> Timing:
        done = run_step(run, step, folder)
        _require_own(form, done.value.artifact, folder)
        return Timing(reply=done.value, seconds=done.seconds)

    stage = run.directory.stage(f"build-{form.short}", _build_key(model, truth, request, release), produce, Timing)
    artifact = stage.value.reply.artifact
    if artifact is None:
        return stage.value.reply.unsupported
    size = (stage.folder / artifact.model_file).stat().st_size
    return Candidate(artifact, stage.folder, stage.value.seconds, size, stage.cached)


def _build_key(model: Model, truth: Truth, request: BuildRequest, release: Release) -> dict[str, object]:
    return {
        "backend": request.backend,
        "precision": request.precision,
        "lowered": sha256_file(model.lowered_program),
        "native": sha256_file(model.native),
        "signature": model.signature,
        "release": release,
        "tools": tools("onnx", "onnx-ir", "numpy", "xgboost", "xgboost-cpu", "catboost", "torch", "nvidia-modelopt"),
        "engine": engine(request.backend),
        "calibration": content(truth.rows_folder) if request.calibration else "",
        "batches": request.batches,
        "gpu": gpus.visible() if backends.row(request.backend).gpu else (),
        "for_gpu": request.for_gpu and model.signature.is_net,
        "converted": content(Path(request.converted)) if request.converted else "",
    }


def _require_own(form: BackendForm, artifact: Artifact | None, folder: Path) -> None:
    """StepError where the step built something else than it was asked for, or what no candidate needs."""
    if artifact is None:
        return
    if (artifact.backend, artifact.precision) != (form.backend, form.precision):
        raise StepError.saying("it built another candidate than it was asked for")
    wrong = strange(artifact) or missing_files(folder, (artifact.model_file, *artifact.files))
    if wrong:
        raise StepError.saying(wrong)


def strange(artifact: Artifact) -> str:
    """What an artifact asks for that no candidate needs, in a sentence; nothing where it asks for none."""
    row = backends.row(artifact.backend)
    ours = not row.provider
    known = artifact.runner in row.runners if ours else runners.is_runner(artifact.runner)
    if not known or not all(map(runners.may_be_installed, artifact.requirements)):
        return f"it is to be run by {artifact.runner[:60]!r}, and needs {', '.join(artifact.requirements)[:200]}"
    if ours and artifact.triton_backend not in (row.triton_backend, "python"):
        return f"it is to be served by Triton's backend {artifact.triton_backend[:60]!r}"
    return ""


def _converted(run: Run, model: Model) -> Path | str:
    """The folder with what Hummingbird, in an environment of its own, made of the lowered forest; or why there is none,
    in one sentence. StepError where a step dies."""
    reason = "a net has no trees" if model.signature.is_net else conversion.absent()
    environment = toolchains.find(conversion.TOOLCHAIN)
    if reason or environment is None:
        return f"{conversion.TOOLCHAIN}: {reason}"
    request = FeedRequest(lowered=str(model.lowered_program))
    step = Step("millwork.compile.compile_steps:feed_hummingbird", request, Fed)
    key = {"lowered": sha256_file(model.lowered_program)}
    feed = run.directory.stage("feed-hummingbird", key, lambda folder: run_step(run, step, folder).value, Fed)
    if feed.value.unsupported:
        return feed.value.unsupported
    fed_file, confined = feed.folder / conversion.FEED_FILE, not run.plan.trust
    return run.directory.stage(
        "convert-hummingbird",
        {
            "feed": sha256_file(fed_file),
            "script": sha256_file(conversion.SCRIPT),
            "tool": toolchains.named(conversion.TOOLCHAIN).requirements,
        },
        lambda folder: succeeded(conversion.convert(fed_file, folder, environment, LIMITS, confined=confined)),
        Converted,
    ).folder


# ── check and measure ─────────────────────────────────────────────────────────────────────────────────────


def check(run: Run, model: Model, truth: Truth, candidate: Candidate, threads: int | None = None) -> Stage[Verdict]:
    """One candidate against the framework, by the plan's threads or by others. StepError where the step dies."""
    threads = run.plan.threads if threads is None else threads
    request = CheckRequest(
        artifact=candidate.artifact,
        folder=str(candidate.folder),
        program=str(model.program),
        lowered=str(model.lowered_program),
        leaf_map=str(model.lower_folder / compile_steps.LEAF_MAP_FILE),
        rows=str(truth.rows_file),
        labels=str(truth.labels_file or ""),
        framework_answers=str(truth.answers_file),
        framework_leaves=str(truth.answers_folder / oracle.LEAVES_FILE),
        signature=model.signature,
        tolerance=run.plan.tolerance,
        coverage=truth.rows.coverage,
        threads=threads,
        adversarial=truth.rows.adversarial,
        far=truth.rows.far,
        own_sha256=sha256_file(model.native) if candidate.artifact.backend == "reference" else "",
    )
    key = {
        "built": content(candidate.folder),
        "loaded": content(model.load_folder),
        "lowered": content(model.lower_folder),
        "rows": content(truth.rows_folder),
        "framework": content(truth.answers_folder),
        "tolerance": run.plan.tolerance,
        "threads": threads,
        "machine": machine(),
        "tools": engine(candidate.artifact.backend, candidate.artifact.runner),
    }
    step = Step("millwork.validators.gate_steps:check", request, Verdict, reads=(truth.rows_folder,), gpu=on_gpu(run))
    return run.directory.stage(
        f"check-{candidate.artifact.backend}", key, lambda folder: run_step(run, step, folder).value, Verdict
    )


def measure(run: Run, truth: Truth, candidates: list[Candidate], batches: tuple[int, ...]) -> Stage[MeasureReply]:
    """All candidates in one process, interleaved. StepError where the step dies."""
    request = MeasureRequest(
        artifacts=tuple(candidate.artifact for candidate in candidates),
        folders=tuple(str(candidate.folder) for candidate in candidates),
        rows=str(truth.rows_file),
        skip=truth.rows.adversarial if truth.rows.user else 0,
        batches=batches,
        threads=run.plan.threads,
    )
    key = {
        "built": [content(candidate.folder) for candidate in candidates],
        "rows": content(truth.rows_folder),
        "batches": batches,
        "threads": run.plan.threads,
        "machine": machine(),
        "host": platform.node(),
        "tools": [engine(candidate.artifact.backend, candidate.artifact.runner) for candidate in candidates],
    }
    step = Step(
        "millwork.validators.gate_steps:measure", request, MeasureReply, reads=(truth.rows_folder,), gpu=on_gpu(run)
    )
    wanted = {(candidate.id, batch) for candidate in candidates for batch in batches}

    def produce(folder: Path) -> MeasureReply:
        run.look_around()
        reply = run_step(run, step, folder).value
        _require_measured(reply, folder, wanted)
        return reply

    return run.directory.stage("measure", key, produce, MeasureReply)


def _require_measured(reply: MeasureReply, folder: Path, wanted: set[tuple[str, int]]) -> None:
    """StepError where the step measured something else than it was asked, or left what can't be read."""
    try:
        kept = {(samples.id, samples.batch) for samples in gate_steps.read_samples(folder / gate_steps.SAMPLES_FILE)}
    except ModelError as error:
        said = error.message.replace(f"{folder}/", "")
        raise StepError.saying(f"what it measured can't be read: {said}") from error
    summaries = {(name, latency.batch) for name, found in reply.latency.items() for latency in found}
    if kept != wanted or summaries != wanted:
        raise StepError.saying("it measured something else than it was asked")
