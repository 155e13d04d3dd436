"""What the stages of a run hand to one another, beside the values that are kept: folders, and where things run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..artifacts.assemble import Evidence
from ..compile import compile_steps
from ..compile.backends import table as backends
from ..compile.backends.base import Artifact
from ..compile.compile_steps import Loaded, Lowered
from ..compile.frontends.loaded_model import Signature
from ..errors import InternalError
from ..executors import Executor
from ..progress import Progress
from ..storage.run_directory import RunDirectory
from ..validators import gate_steps, oracle
from ..validators.gate_steps import RowsReply
from ..validators.oracle import Interpreter
from ..validators.tolerance import Tolerance
from ..values import CandidateRecord, Record
from ..worker.busy import others
from .given import Given
from .plan import Plan


@dataclass(frozen=True)
class Run:
    """What every stage needs: which files it is told, where results are kept, where steps run, whom to tell."""

    plan: Plan
    given: Given
    directory: RunDirectory
    executor: Executor
    progress: Progress
    told: list[str] = field(default_factory=list)
    """Notes of what went on while it ran, for the record."""

    def tell(self, text: str) -> None:
        """A note on the screen and in the record."""
        self.told.append(text)
        self.progress.note(text)

    def look_around(self) -> None:
        """Say, before something is measured, where others use the machine; nothing of ours runs just now."""
        if busy := others():
            self.tell(busy)


@dataclass(frozen=True)
class Model:
    """The loaded and the lowered program, with the folders that hold them."""

    loaded: Loaded
    load_folder: Path
    lowered: Lowered
    lower_folder: Path

    @property
    def signature(self) -> Signature:
        return self.loaded.signature

    @property
    def native(self) -> Path:
        return self.load_folder / self.signature.oracle.native_file

    @property
    def program(self) -> Path:
        return self.load_folder / compile_steps.program_file(self.signature)

    @property
    def lowered_program(self) -> Path:
        return self.lower_folder / compile_steps.lowered_file(self.signature)


@dataclass(frozen=True)
class Truth:
    """The rows to judge by, and the framework's own answers to them."""

    rows: RowsReply
    rows_folder: Path
    interpreter: Interpreter
    answers_folder: Path
    is_net: bool = False

    @property
    def rows_file(self) -> Path:
        return self.rows_folder / gate_steps.ROWS_FILE

    @property
    def labels_file(self) -> Path | None:
        """None where the user gave no labels."""
        return self.rows_folder / gate_steps.LABELS_FILE if self.rows.labelled else None

    @property
    def calibration(self) -> Path | None:
        """The folder of rows that nothing is judged by; None where there are none."""
        folder = self.rows_folder / gate_steps.CALIBRATION
        return folder if self.rows.calibration else None

    @property
    def answers_file(self) -> Path:
        return self.answers_folder / oracle.ANSWERS_FILE


@dataclass(frozen=True)
class Candidate:
    """An artifact that could serve the model, and the folder that holds its files. ``seconds``: what building took;
    ``bytes``: of its model file."""

    artifact: Artifact
    folder: Path
    seconds: float
    bytes: int
    cached: bool = False

    @property
    def id(self) -> str:
        return self.artifact.id

    @property
    def model_file(self) -> Path:
        return self.folder / self.artifact.model_file


@dataclass(frozen=True)
class CheckedCandidate:
    """What the gate said of a candidate: its record in the report. ``candidate``: None where nothing could be built.
    ``missing``: for want of an extra. ``died``: how its step ended, where that gave no answer.
    ``allowed``: how far its answers may be from the framework's. ``engine``: what
    ran it."""

    record: CandidateRecord
    candidate: Candidate | None = None
    missing: bool = False
    allowed: Tolerance | None = None
    engine: str = ""
    died: str = ""

    @property
    def passed(self) -> bool:
        return self.record.status == "passed"

    @property
    def rank(self) -> int:
        """How simple and portable it is: the smaller, the more."""
        return backends.rank(self.record.backend)

    @property
    def built(self) -> Candidate:
        """The candidate of one that passed."""
        if self.candidate is None:
            raise InternalError(f"{self.record.id} passed without having been built")
        return self.candidate

    def evidence(self, found: Record) -> Evidence:
        """What the manifest says of one that passed. ``found``: what the run knows of the model and the target."""
        if self.record.parity is None or self.allowed is None:
            raise InternalError(f"{self.record.id} passed without having been checked")
        return Evidence(
            model=found.model,
            parity=self.record.parity,
            latency=self.record.latency,
            target=found.target,
            engine=self.engine,
            golden_abs=self.allowed.abs,
            golden_rel=self.allowed.rel,
        )
