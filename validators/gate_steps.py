"""The steps of the gate that run in a worker: ``rows``, ``check``, ``measure``. Files go to the working folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ..compile.backends import table as backends
from ..compile.backends.base import Artifact
from ..compile.frontends.loaded_model import Signature
from ..compile.runners.load import Runner, RunnerType, engine_words, runner
from ..errors import ModelError, UsageError
from ..passes import program as programs
from ..passes.forest import leaf_rows
from ..passes.program import Program, counted
from ..storage import archives, frames, tables
from ..storage.files import sha256_file
from ..values import Latency, OutputContract, Value
from ..values.base import FilePath
from . import far_rows, gpu_figures, latency, memory_use, metrics, parity, plain_fp16, tolerance, worst_rows
from .parity import Side, Verdict
from .rows import given as givens
from .rows import net_rows
from .rows.adversarial import adversarial
from .rows.given import CATEGORIES_FILE, ROWS_FILE, Given
from .tolerance import Tolerance

__all__ = ["CATEGORIES_FILE", "ROWS_FILE"]

ADVERSARIAL_ROWS, USER_ROWS = 60_000, 50_000
"""At most so many rows of each kind judge a model."""

LABELS_FILE, SAMPLES_FILE = "labels.npy", "samples.npz"
LARGEST_SAMPLES, LONGEST_BATCH = 16 << 20, 9
"""Bytes of samples.npz, of which a candidate at a batch size takes 6,000; digits of a batch size."""
CALIBRATION = "calibration"
"""The folder, beside the rows, of those that nothing is judged by."""


class RowsRequest(Value):
    """``lowered``: the program whose thresholds are tried; empty for the user's rows alone."""

    lowered: FilePath
    signature: Signature
    data: FilePath = ""
    label: str | None = None
    adversarial_limit: int = ADVERSARIAL_ROWS
    user_limit: int = USER_ROWS


class RowsReply(Value):
    """Beside it: ``rows.npy`` float32 [A + U, F], adversarial rows first, ``categories.npy`` [A + U, C] where the model
    takes them; ``labels.npy`` of the U user's rows. ``calibration``: of a net, so many more of the user's rows, in the
    folder of that name. ``far``: of a net, so many of the adversarial rows, the last, are far beyond the data."""

    adversarial: int
    user: int
    labelled: bool
    coverage: str
    notes: tuple[str, ...] = ()
    calibration: int = 0
    far: int = 0


def rows(request: RowsRequest) -> RowsReply:
    """Adversarial rows from the model's thresholds, or for a net around the user's rows, then the user's."""
    folder = Path.cwd()
    if request.signature.is_net:
        return _net_rows(request, folder)
    made = adversarial(programs.load(Path(request.lowered)), limit=request.adversarial_limit)
    parts, labels = [made.given], None
    notes: tuple[str, ...] = ()
    if request.data:
        given = tables.read(Path(request.data), request.signature.features, request.label, limit=request.user_limit)
        parts.append(Given(given.rows, given.categories))
        labels, notes = given.labels, given.notes
        if given.frame is not None and request.signature.oracle.framework == "catboost":
            frames.save(folder / frames.FRAME_FILE, given.frame, request.signature.features.category_names)
    if labels is not None:
        notes = (*notes, *_require_labels(request, labels))
        np.save(folder / LABELS_FILE, _plain(labels), allow_pickle=False)
    givens.save(givens.joined(parts), folder)
    user = len(parts[1]) if len(parts) > 1 else 0
    return RowsReply(
        adversarial=len(made.given), user=user, labelled=labels is not None, coverage=made.coverage, notes=notes
    )


def _net_rows(request: RowsRequest, folder: Path) -> RowsReply:
    features = request.signature.features
    own, labels = None, None
    notes: tuple[str, ...] = ("without --data a net is judged on random rows, and int8 isn't built",)
    if request.data:
        found = tables.read(Path(request.data), features, request.label, limit=request.user_limit)
        own, labels = Given(found.rows, found.categories), found.labels
        notes = (*found.notes, *net_rows.unknown_codes(own, features))
    if labels is not None:
        notes = (*notes, *_require_labels(request, labels))
    made, far = net_rows.made(request.signature, own, request.adversarial_limit)
    if own is not None:
        apart, judging = net_rows.split(len(own))
        if len(apart):
            (folder / CALIBRATION).mkdir()
            givens.save(own[apart], folder / CALIBRATION)
        own = own[judging]
        if labels is not None:
            np.save(folder / LABELS_FILE, _plain(labels[judging]), allow_pickle=False)
    givens.save(givens.joined([made] if own is None else [made, own]), folder)
    return RowsReply(
        adversarial=len(made),
        user=0 if own is None else len(own),
        labelled=labels is not None,
        coverage=net_rows.COVERAGE + (net_rows.FAR_COVERAGE if far else ""),
        notes=notes,
        calibration=0 if own is None else len(apart),
        far=far,
    )


class CheckRequest(Value):
    """Paths are absolute. ``rows``: rows.npy, with categories.npy beside it where the model takes them. ``labels``: of
    the last rows, or empty. ``tolerance``: a spec, or empty for the derived. ``adversarial``: how many of the rows
    are, of which the last ``far`` are far beyond the data. ``own_sha256``: what the artifact's file must have where it
    is the framework's own, or empty: rows alone don't tell a number that is off by less than sums round."""

    artifact: Artifact
    folder: FilePath
    program: FilePath
    lowered: FilePath
    leaf_map: FilePath
    rows: FilePath
    labels: FilePath
    framework_answers: FilePath
    framework_leaves: FilePath
    signature: Signature
    tolerance: str
    coverage: str
    threads: int = 1
    adversarial: int = 0
    far: int = 0
    own_sha256: str = ""


def check(request: CheckRequest) -> Verdict:
    """One candidate's built files against the framework: leaf by leaf, then the numbers."""
    verdict = _check_net(request) if request.signature.is_net else _check_trees(request)
    found = sha256_file(Path(request.folder) / request.artifact.model_file) if request.own_sha256 else ""
    if found == request.own_sha256 or not verdict.passed:
        return verdict
    reason = (
        f"{request.artifact.model_file} isn't the framework's own file: sha256 {found}, expected {request.own_sha256}"
    )
    return msgspec.structs.replace(verdict, passed=False, reason=reason)


def _check_trees(request: CheckRequest) -> Verdict:
    given = givens.load(Path(request.rows).parent)
    lowered = programs.load(Path(request.lowered))
    answers = np.load(request.framework_answers)
    framework_leaves = np.load(request.framework_leaves)
    final = expected_leaves(programs.load(Path(request.program)), np.load(request.leaf_map), framework_leaves)
    backend = backends.find(request.artifact.backend)
    folder = Path(request.folder)
    # Before anything else of the candidate: a missing engine is told apart here, with what to install.
    engine = _opened(request)
    got_leaves = backend.leaves(request.artifact, folder, *given.parts)
    wanted = backend.expected(lowered, np.maximum(final, 0), framework_leaves)
    wanted = np.where(final < 0, final, wanted).astype(np.int32)
    candidate = parity.in_batches(engine.predict, given, answers.shape[1])
    np.save(Path.cwd() / "answers.npy", candidate)
    allowed = tolerance.parse(request.tolerance) if request.tolerance else _derived(lowered, final, given)
    held, own = backend.node_table(request.artifact, folder, lowered) or (None, None)
    verdict = parity.judge(
        given,
        Side(answers, wanted, own),
        Side(candidate, got_leaves, held),
        allowed,
        request.signature.output,
        coverage=request.coverage,
        labels=np.load(request.labels) if request.labels else None,
    )
    found = worst_rows.worst_rows(given, answers, candidate, request.signature.features, request.adversarial)
    moved = verdict.parity.leaf_mismatches
    said = (
        plain_fp16.finding(lowered, given, request.adversarial, moved) if request.artifact.backend == "tensor" else ""
    )
    return msgspec.structs.replace(
        verdict,
        engine=engine_of(request.artifact.runner, engine),
        parity=msgspec.structs.replace(verdict.parity, worst=found, finding=said),
    )


def _check_net(request: CheckRequest) -> Verdict:
    """The outputs alone. A precision that isn't exact is judged on the user's rows, where there are any: fp16 holds no
    number above 65,504, and int8 nothing far from what it was calibrated on."""
    given = givens.load(Path(request.rows).parent)
    framework = np.load(request.framework_answers)
    engine = _opened(request)
    candidate = parity.in_batches(engine.predict, given, framework.shape[1])
    np.save(Path.cwd() / "answers.npy", candidate)
    output, precision = request.signature.output, request.artifact.precision
    beyond = slice(request.adversarial - request.far, request.adversarial)
    far = (framework[beyond], candidate[beyond])
    near = np.delete(np.arange(len(given)), beyond)
    given, framework, candidate = given[near], framework[near], candidate[near]
    adversarial = request.adversarial - request.far
    skip = 0 if precision == "fp32" or adversarial == len(given) else adversarial
    given, framework, candidate = given[skip:], framework[skip:], candidate[skip:]
    own = framework[adversarial - skip :]
    allowed = (
        tolerance.of_labels(precision, len(output.classes or output.labels))
        if output.kind == "label"
        else tolerance.given_of_precision(request.tolerance, precision)
        if request.tolerance
        else tolerance.of_precision(precision, own if len(own) else framework, probability=output.kind == "probability")
    )
    verdict = parity.judge(
        given,
        Side(framework),
        Side(candidate),
        allowed,
        output,
        coverage=request.coverage,
        labels=np.load(request.labels) if request.labels else None,
    )
    if allowed.flips < 1 and verdict.passed and output.kind == "label":
        allowed = msgspec.structs.replace(allowed, abs=1.05 * verdict.parity.max_abs)
    elif allowed.share and verdict.passed:  # what a server answers is held against the worst that was let pass
        allowed = msgspec.structs.replace(allowed, abs=max(allowed.abs, 1.05 * verdict.parity.max_abs))
    found = worst_rows.worst_rows(given, framework, candidate, request.signature.features, adversarial - skip)
    rows = len(given) + (request.far if precision == "fp32" else 0)
    said = "" if precision == "fp32" else far_rows.finding(*far, precision)
    verdict = msgspec.structs.replace(
        verdict,
        engine=engine_of(request.artifact.runner, engine),
        allowed=allowed,
        parity=msgspec.structs.replace(verdict.parity, worst=found, finding=said, rows=rows),
    )
    wrong = far_rows.wrong(*far, labels=output.kind == "label") if precision == "fp32" else ""
    return msgspec.structs.replace(verdict, passed=False, reason=wrong) if verdict.passed and wrong else verdict


def _derived(lowered: Program, final: npt.NDArray[np.int32], given: Given) -> Tolerance:
    if lowered.decision is not None:
        return tolerance.EXACT_LABELS
    if lowered.linear is None:
        return tolerance.derive(lowered, np.maximum(final, 0))
    rows = programs.encode_all(lowered, given.numbers, given.categories)
    return tolerance.derive_linear(lowered.linear, lowered.postprocess, rows)


def _opened(request: CheckRequest) -> Runner:
    """The candidate in its runner. TargetError where its engine isn't installed."""
    artifact = request.artifact
    return _runner_of(artifact)(Path(request.folder) / artifact.model_file, artifact.parameters, request.threads)


def _runner_of(artifact: Artifact) -> RunnerType:
    return runner(artifact.runner, backends.row(artifact.backend).extra)


def engine_of(runner_name: str, engine: Runner) -> str:
    """``onnxruntime 1.32.0``: what ran the artifact."""
    return f"{engine_words(runner_name)} {engine.version}"


def expected_leaves(
    original: Program, leaf_map: npt.NDArray[np.int32], framework: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The framework's leaf numbers [N, T] as rows of the lowered forest's node table; UNKNOWN where it gave none,
    IMPOSSIBLE where a pass claims that no row comes there."""
    cut = counted(original)
    known = framework >= 0
    rows = leaf_rows(cut, np.where(known, framework, cut.leaf_number[_first_leaves(cut)]))
    mapped = leaf_map[rows]
    mapped = np.where(mapped < 0, np.int32(parity.IMPOSSIBLE), mapped)
    return np.where(known, mapped, np.int32(parity.UNKNOWN)).astype(np.int32)


def _first_leaves(forest: Any) -> npt.NDArray[np.intp]:
    """[T]: some leaf of each tree, to stand in where the framework names none."""
    leaf = np.flatnonzero(forest.is_leaf)
    _, first = np.unique(forest.tree_of_node()[leaf], return_index=True)
    return leaf[first]


class MeasureRequest(Value):
    """``folders``: where the files of each artifact lie. ``skip``: how many rows at the head of ``rows`` are
    adversarial, where the user's follow them."""

    artifacts: tuple[Artifact, ...]
    folders: tuple[FilePath, ...]
    rows: FilePath
    skip: int
    batches: tuple[int, ...]
    threads: int = 1


class MeasureReply(Value):
    """Beside it: ``samples.npz``, an array ``ID@BATCH`` of microseconds, float64 [blocks, calls], for each. ``memory``:
    what the process has allocated more once each was loaded and asked the largest batch; ``gpu_memory``: the same on
    the GPU, of those that run on one."""

    latency: dict[str, tuple[Latency, ...]]
    memory: dict[str, int] = msgspec.field(default_factory=dict)
    gpu_memory: dict[str, int] = msgspec.field(default_factory=dict)


def measure(request: MeasureRequest) -> MeasureReply:
    """All candidates in one process, interleaved."""
    given = givens.load(Path(request.rows).parent, mapped=True)[request.skip :]
    engines: dict[str, Runner] = {}
    memory: dict[str, int] = {}
    gpu_memory: dict[str, int] = {}
    on_gpu = {artifact.id for artifact in request.artifacts if backends.row(artifact.backend).gpu}
    watched = gpu_figures.Watched(on_gpu=bool(on_gpu))
    largest = given[np.arange(max(request.batches)) % len(given)]
    for artifact, folder in zip(request.artifacts, request.folders, strict=True):
        name, kind = artifact.id, _runner_of(artifact)
        before, state = memory_use.allocated(), watched.state()
        engines[name] = kind(Path(folder) / artifact.model_file, artifact.parameters, request.threads)
        engines[name].predict(*largest.parts)
        after = memory_use.allocated()
        if before is not None and after is not None:
            memory[name] = max(after - before, 0)
        grown = gpu_figures.memory(state, watched.state()) if name in on_gpu else None
        if grown is not None:
            gpu_memory[name] = grown
    named = [(name, engine.predict) for name, engine in engines.items()]
    lines: dict[str, list[Latency]] = {name: [] for name in engines}
    arrays: dict[str, Any] = {}
    for batch in request.batches:
        begun = watched.state()
        taken = latency.measure(named, given, batch)
        ended = watched.state()
        for samples in taken:
            arrays[f"{samples.id}@{samples.batch}"] = samples.us
            line = latency.summarise(samples, request.threads)
            if samples.id in on_gpu:
                line = gpu_figures.noted(line, engines[samples.id], given, begun, ended)
            lines[samples.id].append(line)
    np.savez(Path.cwd() / SAMPLES_FILE, **arrays)
    return MeasureReply(
        latency={name: tuple(found) for name, found in lines.items()}, memory=memory, gpu_memory=gpu_memory
    )


def read_samples(path: Path) -> list[latency.Samples]:
    """What :func:`measure` kept. ModelError where a file isn't that."""
    kept = []
    for name, us in archives.read(path, LARGEST_SAMPLES).items():
        candidate, _, batch = name.rpartition("@")
        if not (latency.are_times(us) and batch.isascii() and batch.isdigit() and len(batch) <= LONGEST_BATCH):
            raise ModelError(f"{path}: {name[:100]!r} isn't an array of times")
        kept.append(latency.Samples(candidate, int(batch), us))
    return kept


def _require_labels(request: RowsRequest, labels: npt.NDArray[Any]) -> tuple[str, ...]:
    """UsageError where the labels are none of the model's; what is to be said where they can't be used."""
    if metrics.metric_free(request.signature.output):
        return (f"--label {request.label} isn't used: no metric is compared of {_answers(request.signature.output)}",)
    try:
        metrics.require_labels(request.signature.output, labels)
    except UsageError as error:
        raise UsageError(f"{request.data}: {error.message} (--label {request.label})", error.hint) from error
    return ()


def _answers(output: OutputContract) -> str:
    """What the model answers with, for a note."""
    several = f" of {len(output.labels)} values" if len(output.labels) > 1 else ""
    return f"{output.kind}s ({output.task}{several})" if output.kind != "probability" else f"{output.task}{several}"


def _plain(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels as numbers or fixed-width text, which .npy holds without a pickle."""
    if labels.dtype.kind in "biuf":
        return labels
    return np.array([str(label) for label in labels.tolist()])
