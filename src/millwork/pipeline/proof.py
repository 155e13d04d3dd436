"""What a run directory claims, before any of it is published: the verdict in its record, and the proof once more.

Whoever may write a run directory may write all of it, so nothing in it vouches for the rest. What can be asked again is
asked: where the model's file is there as it was, the artifact is checked against the framework anew, on rows that are
made here, and so are the golden rows' answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import gpus
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..artifacts.renewed import AGAIN
from ..artifacts.served_again import native_of
from ..compile.backends import table
from ..compile.backends.base import Artifact
from ..errors import MillworkError, ModelError, ParityError, UsageError
from ..progress import Progress, Silent
from ..storage import archives
from ..storage.files import refusal, sha256_file
from ..storage.run_cover import record_changes
from ..storage.run_directory import RunDirectory
from ..validators import oracle
from ..validators.parity import Verdict
from ..validators.rows import given as rows_files
from ..values import Manifest, Record, Value
from . import given, stages
from .options import Options
from .plan import understand
from .run import Candidate, Model, Run, Truth
from .step import LIMITS, StepError, reason

SLACK = 4.0
"""So many times what the fresh check allows, a version may allow its golden rows: it was judged on other rows, whose
sums may be larger."""


class Source(NamedTuple):
    """What is proved from: the model's file, and the tolerance as it was given to the run. ``named``: somebody gave the
    file, so it must be the one."""

    path: Path
    tolerance: str | None = None
    named: bool = False


class Copied(Value):
    """Beside it: a bundle's files."""


class NotProvedError(Exception):
    """Why nothing could be proved again, in words that begin in the middle of a sentence."""


def require_verdict(run_dir: Path, record: Record, bundles: Sequence[Bundle]) -> None:
    """The record says that this candidate passed and was chosen, and what the bundles say of it is what the record
    says. ParityError where its figures are of one that failed, ModelError where the two don't agree, or the record was
    changed since."""
    if told := record_changes(run_dir):
        raise ModelError(f"{run_dir}: not as the run left it: {'; '.join(told)}", AGAIN)
    for bundle in bundles:
        manifest, name = bundle.manifest, bundle.manifest.candidate_id
        found = [line for line in record.candidates if line.id == name]
        if record.winner is None or record.winner.id != name or not found:
            chosen = record.winner.id if record.winner is not None else "nothing"
            raise ModelError(f"{run_dir}: by run.json the run chose {chosen[:100]}, and its bundle is {name}", AGAIN)
        line = found[0]
        if line.status != "passed" or line.parity is None:
            raise ParityError(
                f"{run_dir}: by run.json {name} {line.status}: {line.reason or 'no reason is given'}", AGAIN
            )
        for differs, what in (
            (line.parity != manifest.parity, "how far it is from the framework"),
            (record.model.sha256 != manifest.source.sha256, "which model it is of"),
        ):
            if differs:
                raise ModelError(f"{run_dir}: run.json and the bundle of {name} don't agree on {what}", AGAIN)
        wrong = {"wrong leaves": line.parity.leaf_mismatches, "wrong values": line.parity.wrong_values}
        for what, count in wrong.items():
            if count:
                raise ParityError(f"{run_dir}: {name} has {count:,} {what}", AGAIN)


def again(bundles: Sequence[Bundle], source: Source, folder: Path, progress: Progress) -> None:
    """Check the bundles' artifact anew, in the new ``folder``. ParityError where it isn't the model's. Where the model
    isn't here, or can't be read by itself, that is noted; UsageError where somebody named it."""
    manifest = bundles[0].manifest
    progress.begin("prove", f"{manifest.candidate_id} by {source.path}")
    try:
        verdict = _verdict(bundles, source, folder)
    except NotProvedError as why:
        if source.named:
            raise UsageError(f"--model: {why}", "Give the file that the run read, or leave --model out.") from why
        progress.end(f"{manifest.candidate_id} is taken from the run as it is")
        progress.note(f"{manifest.candidate_id} isn't proved again: {why} (--model FILE names it)")
        return
    progress.end(f"{manifest.candidate_id}: proved again on {verdict.parity.rows:,} rows made here")


def _verdict(bundles: Sequence[Bundle], source: Source, folder: Path) -> Verdict:
    path = source.path
    _require_model(path, bundles[0].manifest)
    plan, executor = understand(_options(bundles[0].manifest, source, folder))
    with RunDirectory(plan.run_dir) as directory:
        run = Run(plan, given.look_at(plan), directory, executor, Silent())
        try:
            model = stages.load(run)
            truth = stages.judge_by(run, model)
        except (MillworkError, StepError) as error:
            raise NotProvedError(f"{path} can't be read by itself: {_first_line(error)}") from error
        found = None
        for bundle in bundles:
            _require_contract(bundle, model)
            found = _checked(run, model, truth, bundle)
            _require_golden(model, truth, bundle, found, folder)
    assert found is not None  # noqa: S101 -- there is a bundle at least
    return found


def _require_model(path: Path, manifest: Manifest) -> None:
    """NotProvedError where the model's file isn't there as it was, or wouldn't do."""
    try:
        there = path.is_file()
        same = there and sha256_file(path) == manifest.source.sha256
    except OSError as error:
        raise NotProvedError(refusal(error, path)) from error
    if not there:
        raise NotProvedError(f"the model isn't at {path}")
    if not same:
        raise NotProvedError(f"{path} isn't the run's model")
    row = table.row(manifest.backend)
    if row.gpu and not gpus.visible():
        raise NotProvedError(f"{manifest.backend} runs on a GPU, and there is none here")
    if manifest.source.framework == "torch" and manifest.precision != "fp32":
        raise NotProvedError(f"{manifest.precision} of a net is judged by your rows, which publish isn't given")


def _options(manifest: Manifest, source: Source, folder: Path) -> Options:
    kind = manifest.output.kind
    return Options(
        model=str(source.path),
        name=manifest.name,
        output=kind if kind in ("margin", "label") else "probability",
        tolerance=source.tolerance,
        triton="none",
        dry_run=True,
        run_dir=str(folder),
    )


def _require_contract(bundle: Bundle, model: Model) -> None:
    """ModelError where a client would be told of other features or outputs than the model has."""
    own, said = model.signature, bundle.manifest
    features = (
        (said.features.names, said.features.category_names, said.features.missing, said.features.order),
        (own.features.names, own.features.category_names, own.features.missing, own.features.order),
    )
    differs = [
        what
        for what, same in (
            ("features", features[0] == features[1] or not own.features.named),
            ("number of features", len(said.features.all_names) == len(own.features.all_names)),
            ("outputs", said.output == own.output),
        )
        if not same
    ]
    if differs:
        raise ModelError(f"{bundle.folder}: its manifest has other {differs[0]} than {said.source.path}", AGAIN)


def _checked(run: Run, model: Model, truth: Truth, bundle: Bundle) -> Verdict:

    def copied(folder: Path) -> Copied:
        for entry in bundle.manifest.files:
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / entry.path, folder / entry.path)
        return Copied()

    artifact = run.directory.stage("artifact", {"manifest": bundle.manifest_sha256}, copied, Copied)
    candidate = Candidate(_artifact(bundle.manifest), artifact.folder, 0.0, 0)
    try:
        verdict = stages.check(run, model, truth, candidate).value
    except StepError as error:
        raise ParityError(f"{bundle.folder}: {candidate.id} can't be checked: {reason(error)[0]}", AGAIN) from error
    if not verdict.passed:
        raise ParityError(
            f"{candidate.id} isn't {bundle.manifest.source.path}, though the run says so: {verdict.reason}",
            f"{AGAIN} If the run had a --tolerance, give it here, too.",
        )
    return verdict


def _artifact(manifest: Manifest) -> Artifact:
    known = {manifest.model_file, manifest.golden_file}
    return Artifact(
        backend=manifest.backend,
        precision=manifest.precision,
        model_file=manifest.model_file,
        runner=manifest.runner,
        triton_backend=native_of(manifest),
        parameters=manifest.parameters,
        requirements=manifest.requirements,
        files=tuple(entry.path for entry in manifest.files if entry.path not in known),
        plan=manifest.plan,
    )


def _require_golden(model: Model, truth: Truth, bundle: Bundle, verdict: Verdict, folder: Path) -> None:
    """ParityError where the answers of the golden rows aren't the framework's, or may be further off than they should:
    the server is judged by them."""
    rows, answers = golden_rows(bundle.folder, bundle.manifest)
    asked, told = folder / f"golden-{bundle.manifest.triton_backend}", folder / f"told-{bundle.manifest.triton_backend}"
    for made in (asked, told):
        made.mkdir()
    rows_files.save(rows, asked)
    categories = asked / rows_files.CATEGORIES_FILE if rows.categories is not None else None
    oracle.ask(
        model.signature.oracle,
        model.native,
        asked / rows_files.ROWS_FILE,
        categories,
        told,
        truth.interpreter.python,
        LIMITS,
    )
    own = archives.array(told / oracle.ANSWERS_FILE)
    allowed = verdict.allowed
    near = own.shape == answers.shape and np.allclose(
        answers, own, rtol=max(allowed.rel, 1e-6), atol=allowed.abs, equal_nan=True
    )
    wide = bundle.manifest.golden_abs > SLACK * allowed.abs or bundle.manifest.golden_rel > SLACK * max(
        allowed.rel, 1e-6
    )
    if not near or wide:
        what = "aren't the framework's answers" if not near else "may be further off than the model's precision gives"
        raise ParityError(f"{bundle.folder}: its golden rows {what}", AGAIN)


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, MillworkError) else str(error)
    return text.splitlines()[0] if text else type(error).__name__
