"""A model's file through the real steps: load, lower, rows, the framework asked, build, check. In this process."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from millwork.compile import compile_steps as compiling
from millwork.compile.backends.base import Artifact
from millwork.compile.backends.hummingbird import conversion
from millwork.compile.frontends.loaded_model import Signature
from millwork.compile.runners.load import runner
from millwork.environments import Environment
from millwork.passes import program as programs
from millwork.passes.program import Program
from millwork.storage.files import sha256_file
from millwork.validators import gate_steps as gating
from millwork.validators import oracle
from millwork.validators.parity import Verdict
from millwork.validators.rows import given as givens
from millwork.validators.rows.given import Given
from millwork.worker import Failure, Limits


@dataclass(frozen=True, eq=False)
class Gate:
    """One model, judged. ``folder`` holds program.npz, lowered.npz, leaf_map.npy, rows.npy, answers.npy, leaves.npy
    and the native file."""

    folder: Path
    signature: Signature
    coverage: str

    @property
    def rows(self) -> npt.NDArray[np.float32]:
        return np.load(self.folder / gating.ROWS_FILE)

    @property
    def given(self) -> Given:
        """The rows with their categories."""
        return givens.load(self.folder)

    @property
    def answers(self) -> npt.NDArray[np.float32]:
        """The framework's."""
        return np.load(self.folder / oracle.ANSWERS_FILE)

    @property
    def leaves(self) -> npt.NDArray[np.int32]:
        """The framework's own numbers."""
        return np.load(self.folder / oracle.LEAVES_FILE)

    @property
    def native(self) -> Path:
        return self.folder / self.signature.oracle.native_file

    @property
    def program(self) -> Program:
        return programs.load(self.folder / compiling.PROGRAM_FILE)

    @property
    def lowered(self) -> Program:
        return programs.load(self.folder / compiling.LOWERED_FILE)

    def converted(self, folder: Path, environment: Environment) -> Path | str:
        """``folder`` with what Hummingbird makes of the forest, or why it can't, as the pipeline has it."""
        folder.mkdir()
        with contextlib.chdir(folder):
            fed = compiling.feed_hummingbird(compiling.FeedRequest(lowered=str(self.folder / compiling.LOWERED_FILE)))
        if fed.unsupported:
            return fed.unsupported
        made = conversion.convert(folder / conversion.FEED_FILE, folder, environment, Limits(seconds=300))
        return made.message if isinstance(made, Failure) else folder

    def build(self, backend: str, folder: Path, release: str = "25.12", converted: str = "") -> compiling.BuildReply:
        """One backend's files in ``folder``, which is made."""
        folder.mkdir()
        request = compiling.BuildRequest(
            backend=backend,
            lowered=str(self.folder / compiling.LOWERED_FILE),
            native=str(self.native),
            signature=self.signature,
            release=release,
            converted=converted,
        )
        with contextlib.chdir(folder):
            return compiling.build(request)

    def check(self, built: Artifact, folder: Path, tolerance: str = "", labels: str = "") -> Verdict:
        """The verdict on the files in ``folder``."""
        request = gating.CheckRequest(
            artifact=built,
            folder=str(folder),
            program=str(self.folder / compiling.PROGRAM_FILE),
            lowered=str(self.folder / compiling.LOWERED_FILE),
            leaf_map=str(self.folder / compiling.LEAF_MAP_FILE),
            rows=str(self.folder / gating.ROWS_FILE),
            labels=labels,
            framework_answers=str(self.folder / oracle.ANSWERS_FILE),
            framework_leaves=str(self.folder / oracle.LEAVES_FILE),
            signature=self.signature,
            tolerance=tolerance,
            coverage=self.coverage,
            own_sha256=sha256_file(self.native) if built.backend == "reference" else "",
        )
        scratch = folder.with_name(folder.name + "-check")
        scratch.mkdir(exist_ok=True)
        with contextlib.chdir(scratch):
            return gating.check(request)


def gate(
    path: Path,
    folder: Path,
    *,
    margin: bool = False,
    limit: int = 4000,
    python: str = "",
    data: Path | None = None,
    decided: bool = False,
) -> Gate:
    """Everything but the candidates. ``data``: the user's rows. ``python``: the interpreter that asks the framework, in
    a process of its own, as the pipeline does; without one the same runner is asked in this process, which saves a
    second."""
    folder.mkdir()
    with contextlib.chdir(folder):
        signature = compiling.load(
            compiling.LoadRequest(path=str(path), margin=margin, data=str(data or ""), decided=decided)
        ).signature
        compiling.lower(compiling.LowerRequest(program=str(folder / compiling.PROGRAM_FILE)))
        request = gating.RowsRequest(
            lowered=str(folder / compiling.LOWERED_FILE),
            signature=signature,
            adversarial_limit=limit,
            data=str(data or ""),
        )
        made = gating.rows(request)
    found = Gate(folder=folder, signature=signature, coverage=made.coverage)
    if python:
        rows = folder / gating.ROWS_FILE
        categories = folder / gating.CATEGORIES_FILE
        given = categories if categories.is_file() else None
        asked = oracle.ask(signature.oracle, found.native, rows, given, folder, python, Limits(seconds=120))
        oracle.require_as_read(asked, signature, str(data))
    else:
        engine = runner(f"{signature.oracle.framework}_runner")(found.native, signature.oracle.parameters, 2)
        np.save(folder / oracle.ANSWERS_FILE, engine.predict(*found.given.parts))
        np.save(folder / oracle.LEAVES_FILE, engine.leaves(*found.given.parts))
        assert found.answers.shape[1] == len(signature.output.labels)
    return found
