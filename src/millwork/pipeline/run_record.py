"""What a run knows once all candidates were checked, as the document that it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from .. import __version__
from ..errors import UsageError
from ..storage import wire
from ..storage.files import refusal
from ..storage.opening import read_limited
from ..storage.run_directory import RECORD_FILE
from ..targets import instead, measured_here
from ..values import SCHEMA, CandidateRecord, ModelSummary, Record
from .plan import Plan
from .run import CheckedCandidate, Model, Truth

TRUSTED = "--trust: the steps that read and run this model had no sandbox"


LONGEST = 1 << 30
"""Bytes of a record that are read."""


def read(run_dir: Path) -> Record:
    """The record of a finished run; UsageError where there is none."""
    path = run_dir / RECORD_FILE
    try:
        return wire.decode(read_limited(path, LONGEST), Record)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path}: no such file", "Name the run directory of a finished run (.millwork/NAME)."
        ) from error
    except OSError as error:
        raise UsageError(refusal(error, path), "Run optimize again in this run directory.") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a run's record: {error}") from error


def of_checked(plan: Plan, model: Model, truth: Truth, checked: Sequence[CheckedCandidate]) -> Record:
    """What is known once all candidates were checked."""
    died = (
        f"{candidate.record.id} died and isn't compared" for candidate in checked if candidate.record.status == "error"
    )
    trusted = (TRUSTED,) if plan.trust else ()
    elsewhere = (f"measured on {instead(plan.target)}",) if plan.other_gpu and instead(plan.target) else ()
    notes = (*trusted, *elsewhere, *model.signature.notes, *truth.rows.notes, truth.interpreter.note, *died)
    return Record(
        schema=SCHEMA,
        model=_summary(model, truth),
        target=measured_here(plan.target, other_gpu=plan.other_gpu),
        candidates=candidates(checked),
        notes=tuple(note for note in notes if note),
        run_dir=str(plan.run_dir),
        model_file=str(plan.model),
        millwork=__version__,
    )


def _summary(model: Model, truth: Truth) -> ModelSummary:
    signature = model.signature
    return ModelSummary(
        framework=signature.provenance.framework,
        objective=signature.objective,
        sha256=signature.provenance.sha256,
        features=signature.features.names,
        outputs=signature.output.labels,
        framework_version=signature.provenance.framework_version,
        oracle_version=truth.interpreter.version,
        path=signature.provenance.path,
        trees=model.lowered.trees,
        output_kind=signature.output.kind,
        missing=signature.features.missing,
        notes=signature.notes,
        categories=signature.features.category_names,
        category_dtype=signature.features.category_dtype,
    )


def candidates(checked: Sequence[CheckedCandidate]) -> tuple[CandidateRecord, ...]:
    """Their lines of the record."""
    return tuple(candidate.record for candidate in checked)
