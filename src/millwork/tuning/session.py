"""A tuning session: the server that trials are loaded on, and each round of theirs, kept in the run directory.

Each round of each trial is a stage of the run directory, raw times beside its figures. A run that is resumed repeats
none: the search takes the same steps until it comes to a round that isn't there.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..errors import PublicationError
from ..executors import Executor
from ..progress import Progress
from ..storage import scratch, wire
from ..storage.files import sha256_file
from ..storage.opening import ANY_SIZE, read_limited
from ..storage.run_directory import RunDirectory
from ..targets import machine
from ..triton import config as triton_config
from ..triton import install
from ..triton.credentials import NONE
from ..triton.serving import Serving, opened
from ..validators.traffic import Traffic
from ..values import Value
from ..worker import MOST_MEMORY, NO_SANDBOX, Failure, Limits
from ..worker.busy import others
from .figures import Round
from .load import samples
from .load.load_steps import SERVER_ENDED, LoadReply, LoadRequest, Where
from .loaded_models import Golden, Loadable, LoadedModels
from .trials import ServedCandidate, Trial, TrialError

ROUND_LIMITS = Limits(seconds=120.0, memory_bytes=MOST_MEMORY)


class TrialReply(Value):
    """One round, or why the trial can't serve. ``memory``: bytes that loading it took, if it was loaded for this."""

    failed: str = ""
    load: LoadReply | None = None
    memory: int | None = None
    spent_s: float = 0.0


@dataclass
class TuningSession:
    """The server while it is tuned on; started by the first round that isn't kept."""

    directory: RunDirectory
    executor: Executor
    progress: Progress
    serving: Serving
    candidates: Sequence[ServedCandidate]
    name: str
    rows: Path
    round_s: float
    confined: bool = True
    """Whether the engines' own times are taken in a sandbox, as all that reads a model is unless the user trusts it."""
    memory: dict[int, int] = field(default_factory=dict)
    generator: str = ""
    budget_s: float = math.inf
    """Seconds that rounds may take before nothing is tried a second time."""
    conditions: list[str] = field(default_factory=list)
    """What else went on, in words: trials that were lost, a busy machine."""
    _spent_s: float = 0.0
    _died: str = ""
    """Why a server of ours has ended in the round that is under way; empty while it hasn't."""
    _looked: bool = False
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _models: LoadedModels | None = None
    _credentials: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._models, self._credentials = None, ""
        self._open.close()

    def models(self) -> LoadedModels:
        """The server, ready to load."""
        if self._models is None:
            for candidate in self.candidates:
                if self.serving.installation is not None and candidate.backend == "python":
                    install.provide(
                        self.serving.installation, candidate.bundle.manifest.requirements, self.progress.detail
                    )
            session, pid = self._open.enter_context(opened(self.serving))
            self._models = self._open.enter_context(LoadedModels(session, self.name, pid))
        return self._models

    def measure(self, trial: Trial, sweep: int, traffic: Traffic, what: str = "trial") -> Round:
        """One round, from the run directory if it is there."""
        bundle = trial.candidate.bundle
        config = triton_config.with_settings(bundle.config, trial.settings)
        key = {
            "files": [(entry.path, entry.sha256) for entry in bundle.manifest.files if _decides(entry.path)],
            "config": triton_config.fingerprint(config),
            "traffic": traffic,
            "seconds": self.round_s,
            "round": sweep,
            "rows": sha256_file(self.rows),
            "host": platform.node(),
            "machine": machine(),
            "server": self.serving.url or self.serving.installation,
            "release": self.serving.release.name,
        }
        stage = self.directory.stage(
            what, key, lambda folder: self._lasting(trial, sweep, traffic, config, folder), TrialReply
        )
        reply = stage.value
        if reply.load is None:
            raise TrialError(reply.failed, reply.spent_s)
        if reply.memory is not None:
            self.memory[trial.id] = reply.memory
        self.generator = self.generator or reply.load.generator
        return Round(
            number=sweep,
            samples=samples.load(stage.folder / samples.SAMPLES_FILE),
            server=reply.load.server,
            generator=reply.load.generator,
            spent_s=reply.spent_s,
        )

    def _lasting(self, trial: Trial, sweep: int, traffic: Traffic, config: str, folder: Path) -> TrialReply:
        """One round; where a server of ours ended in it, once more as long as there is time. Nobody may have had to do
        with the trial who ended it, so a round that is lost isn't kept."""
        self._look()
        reply = self._timed_round(trial, sweep, traffic, config, folder)
        if not self._died:
            return reply
        lost = f"a trial was lost, the server ended while it was tried ({trial.words}): {self._died}"
        if self._spent_s > self.budget_s:
            self._tell(f"{lost}; there was no time to try it again")
            raise TrialError(f"the server ended while it was tried: {self._died}", reply.spent_s)
        self._tell(f"{lost}; it was tried again")
        again = self._timed_round(trial, sweep, traffic, config, folder)
        if self._died:
            self._tell(f"the server ended again ({trial.words}), so this configuration is out")
            raise TrialError(f"the server ended twice while it was tried: {self._died}", again.spent_s)
        return again

    def _timed_round(self, trial: Trial, sweep: int, traffic: Traffic, config: str, folder: Path) -> TrialReply:
        self._died = ""
        began = time.monotonic()
        try:
            return self._round(trial, sweep, traffic, config, folder)
        finally:
            self._spent_s += time.monotonic() - began

    def _tell(self, text: str) -> None:
        self.conditions.append(text)
        self.progress.note(text)

    def _look(self) -> None:
        """Say, before the first round that is measured, whether others use the machine."""
        if not self._looked and self._models is None:
            self._looked = True
            if busy := others():
                self._tell(busy)

    def _round(self, trial: Trial, sweep: int, traffic: Traffic, config: str, folder: Path) -> TrialReply:
        began = time.monotonic()
        models = self.models()
        try:
            served, memory = models.ready(trial.id, _loadable(trial.candidate.bundle, config))
        except TrialError as failed:
            return TrialReply(failed=str(failed), spent_s=time.monotonic() - began)
        except PublicationError as gone:
            self._require_ours(gone.message)
            return TrialReply(failed=gone.message, spent_s=time.monotonic() - began)
        request = LoadRequest(
            where=self._where(models),
            model=served,
            rows=str(self.rows),
            traffic=traffic,
            seconds=self.round_s,
            seed=sweep,
        )
        done = self.executor.run(
            "millwork.tuning.load.load_steps:load",
            request,
            LoadReply,
            folder=folder,
            limits=ROUND_LIMITS,
            sandbox=NO_SANDBOX,  # a client of the server's: it reads no model
        )
        spent = time.monotonic() - began
        if isinstance(done, Failure):
            self._after(done, trial)
            return TrialReply(failed=f"under load: {done.message}", spent_s=spent)
        return TrialReply(load=done.value, memory=memory, spent_s=spent)

    def _where(self, models: LoadedModels) -> Where:
        """perf_analyzer is the managed Triton's; it can ask any server. Credentials go by a file that nobody else reads
        and that is gone when the session is."""
        own = self.serving.installation if self.serving.installation is not None else install.find()
        if self.serving.credentials != NONE and not self._credentials:
            path = self._open.enter_context(scratch.folder("credentials")) / "credentials.json"
            path.write_bytes(wire.encode(self.serving.credentials))
            self._credentials = str(path)
        return Where(
            url=models.session.url,
            credentials=self._credentials,
            pid=models.pid,
            perf_analyzer=own.perf_analyzer if own is not None and own.perf_analyzer else "",
            libraries=own.perf_libraries if own is not None else (),
        )

    def _after(self, failure: Failure, trial: Trial) -> None:
        """A round failed: the server may have died of it. One of ours is started again for the next."""
        if self._models is None:
            return
        try:
            self._models.session.server_version()
            self._models.drop(trial.id)
        except PublicationError:
            gone = f"exit status {SERVER_ENDED}" in failure.message
            self._require_ours("it was killed, or crashed" if gone else failure.message)

    def _require_ours(self, why: str) -> None:
        """The server is gone. One of ours is started again for the next round; PublicationError for the user's."""
        self.close()
        self._died = why
        if self.serving.url:
            raise PublicationError(
                f"the server at {self.serving.url} has stopped: {why}",
                "Start it again and give the same command: it continues after the rounds that were measured.",
            )


def _loadable(bundle: Bundle, config: str) -> Loadable:
    manifest = bundle.manifest
    paths = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
    given, answers = golden_rows(bundle.folder, manifest)
    asked = Golden(given, answers, manifest.golden_abs, manifest.golden_rel)
    return Loadable(
        files={f"file:1/{path.relative_to(bundle.folder).as_posix()}": read_limited(path, ANY_SIZE) for path in paths},
        config=lambda name: triton_config.as_json(config, name=name),
        golden=asked,
    )


def _decides(path: str) -> bool:
    """Whether a file of the version can change what is measured; the golden rows and the manifest don't."""
    return not path.endswith((".npz", "manifest.json"))
