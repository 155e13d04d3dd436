"""What the stages of a run hand to one another, beside the values that are kept: folders, and where things run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..compile import compile_steps as lowering
from ..compile.backends.base import Artifact
from ..compile.compile_steps import Loaded, Lowered
from ..compile.frontends.loaded_model import Signature
from ..executors import Executor
from ..progress import Progress
from ..storage.run_directory import RunDirectory
from ..validators import gate_steps as gate
from ..validators import oracle
from ..validators.gate_steps import RowsReply
from ..validators.oracle import Interpreter
from ..validators.tolerance import Tolerance
from ..values import CandidateRecord
from ..worker import Failure
from .plan import Plan


class CandidateError(Exception):
    """A candidate's step failed. Ends with its candidate, never with the run."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True)
class Run:
    """What every stage needs: where results are kept, where steps run, whom to tell."""

    plan: Plan
    directory: RunDirectory
    executor: Executor
    progress: Progress


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
        return self.load_folder / lowering.program_file(self.signature)

    @property
    def lowered_program(self) -> Path:
        return self.lower_folder / (lowering.LOWERED_NET_FILE if self.signature.is_net else lowering.LOWERED_FILE)


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
        return self.rows_folder / gate.ROWS_FILE

    @property
    def calibration(self) -> Path | None:
        """The folder of rows that nothing is judged by; None where there are none."""
        folder = self.rows_folder / gate.CALIBRATION
        return folder if self.rows.calibration else None

    @property
    def answers_file(self) -> Path:
        return self.answers_folder / oracle.ANSWERS_FILE


@dataclass(frozen=True)
class BuiltCandidate:
    """A candidate's files. ``seconds``: what building took."""

    built: Artifact
    folder: Path
    seconds: float
    bytes: int
    cached: bool = False


@dataclass(frozen=True)
class Judged:
    """A candidate with its line of the report; ``built`` where there are files, ``missing`` for want of an extra.

    ``allowed``: how far its answers may be from the framework's.
    """

    record: CandidateRecord
    built: BuiltCandidate | None = None
    missing: bool = False
    allowed: Tolerance | None = None
    engine: str = ""

    @property
    def passed(self) -> bool:
        return self.record.status == "passed"
