"""The arrow ``tune``: the best few candidates and their configurations on the real server, decided by what it measures.

Each round of each trial is a stage of the run directory, raw times beside its figures, so a run that is resumed repeats
none: the search takes the same steps until it comes to a round that isn't there.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..errors import PublicationError, TargetError
from ..executors import Executor
from ..progress import Progress
from ..storage.files import sha256_file
from ..storage.run_directory import RunDirectory
from ..targets import machine
from ..triton import config as triton_config
from ..triton import install
from ..triton.serving import Serving, opened
from ..triton.settings import Settings
from ..validators.traffic import Traffic
from ..values import Headroom, Value
from ..worker import MOST_MEMORY, NO_SANDBOX, Failure, Limits, Sandbox
from . import headroom, scoring, search
from .figures import Round
from .load import samples
from .load.load_steps import LoadReply, LoadRequest, Where
from .loaded_models import Golden, Loadable, Rig
from .search import Found
from .service_times import Engine, ProfileReply, ProfileRequest, ServiceTime
from .trials import Entrant, Question, Trial, TrialError

ROUND_S, LONGEST_ROUND_S = 0.6, 3.0
"""Seconds of load a round."""
ENOUGH = 150
"""Requests that a round should have, so slow traffic gets longer rounds."""
HEADROOM_SHARE, HEADROOM_FROM_S = 0.15, 45.0
"""Of a budget of at least so many seconds, this share goes to the load sweep."""
PROFILED = (1, 4, 16, 64, 256, 1024)
HERE = ("localhost", "127.0.0.1", "::1")
ROUND_LIMITS = Limits(seconds=120.0, memory_bytes=MOST_MEMORY)


@dataclass(frozen=True)
class Contestant:
    """A candidate's bundle for one Triton backend, its engine, and how simple it is (the smaller, the simpler)."""

    id: str
    bundle: Bundle
    engine: Engine
    rank: int

    @property
    def backend(self) -> str:
        return self.bundle.manifest.triton_backend


class TrialReply(Value):
    """One round, or why the trial can't serve. ``memory``: bytes that loading it took, if it was loaded for this."""

    failed: str = ""
    load: LoadReply | None = None
    memory: int | None = None
    spent_s: float = 0.0


@dataclass(frozen=True)
class Tuned:
    """What the search found, and the load sweep of its winner."""

    found: Found
    winner: Trial | None
    headroom: Headroom | None
    refused: dict[int, str]
    """Trials that were measured well and aren't served, by their id: why."""
    generator: str
    seconds: float


@dataclass
class Desk:
    """The server while it is tuned on; started by the first round that isn't kept."""

    directory: RunDirectory
    executor: Executor
    progress: Progress
    serving: Serving
    contestants: Sequence[Contestant]
    name: str
    rows: Path
    round_s: float
    confined: bool = True
    """Whether the engines' own times are taken in a sandbox, as all that reads a model is unless the user trusts it."""
    memory: dict[int, int] = field(default_factory=dict)
    generator: str = ""
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _rig: Rig | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._rig = None
        self._open.close()

    def rig(self) -> Rig:
        """The server, ready to load."""
        if self._rig is None:
            for contestant in self.contestants:
                if self.serving.installation is not None and contestant.backend == "python":
                    install.provide(
                        self.serving.installation, contestant.bundle.manifest.requirements, self.progress.detail
                    )
            session, pid = self._open.enter_context(opened(self.serving))
            self._rig = self._open.enter_context(Rig(session, self.name, pid))
        return self._rig

    def measure(self, trial: Trial, sweep: int, traffic: Traffic, what: str = "trial") -> Round:
        """One round, from the run directory if it is there."""
        contestant = self.contestant(trial)
        config = triton_config.with_settings(contestant.bundle.config, trial.settings)
        key = {
            "files": [(entry.path, entry.sha256) for entry in contestant.bundle.manifest.files if _decides(entry.path)],
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
            what, key, lambda folder: self._round(trial, sweep, traffic, contestant, config, folder), TrialReply
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

    def contestant(self, trial: Trial) -> Contestant:
        """Whose configuration the trial is."""
        named = (trial.entrant.id, trial.entrant.backend)
        return next(one for one in self.contestants if (one.id, one.backend) == named)

    def _round(
        self, trial: Trial, sweep: int, traffic: Traffic, contestant: Contestant, config: str, folder: Path
    ) -> TrialReply:
        began = time.monotonic()
        rig = self.rig()
        try:
            served, memory = rig.ready(trial.id, _loadable(contestant.bundle, config))
        except TrialError as failed:
            return TrialReply(failed=str(failed), spent_s=time.monotonic() - began)
        except PublicationError as gone:
            self._demand_ours(gone.message)
            raise TrialError(f"the server died of it: {gone.message}", time.monotonic() - began) from gone
        request = LoadRequest(
            where=_where(rig, self.serving),
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

    def _after(self, failure: Failure, trial: Trial) -> None:
        """A round failed: the server may have died of it. One of ours is started again for the next."""
        if self._rig is None:
            return
        try:
            self._rig.session.server_version()
            self._rig.drop(trial.id)
        except PublicationError:
            self._demand_ours(failure.message)

    def _demand_ours(self, why: str) -> None:
        """The server is gone. One of ours is started again for the next round; PublicationError for the user's."""
        self.close()
        if self.serving.url:
            raise PublicationError(
                f"the server at {self.serving.url} is gone: {why}",
                "The same command goes on from the rounds that were had.",
            )


def tune(
    question: Question, contestants: Sequence[Contestant], desk: Desk, accept: Callable[[Trial], str] = lambda _: ""
) -> Tuned:
    """Search, take the best that ``accept`` has nothing against (it says why not), and sweep its load.

    Raises PublicationError where a user's server is gone, and what the run directory raises.
    """
    began = time.monotonic()
    if desk.serving.url and urlsplit(desk.serving.url).hostname not in HERE:
        desk.progress.note(
            f"the cores of {desk.serving.url} can't be seen from here: instances times threads are tried up to the "
            f"{question.ground.cores} of this machine"
        )
    share = HEADROOM_SHARE if question.budget_s >= HEADROOM_FROM_S else 0.0
    entrants = _entrants(question, contestants, desk)
    narrowed = _less(question, question.budget_s * (1 - share))
    found = search.search(
        narrowed,
        entrants,
        lambda trial, sweep: desk.measure(trial, sweep, question.ground.traffic),
        lambda trial: desk.memory.get(trial.id),
        desk.progress.detail,
    )
    winner, refused = _taken(narrowed, desk, found, accept)
    if winner is not None and not question.slo.limits and found.book.over(winner)[1] == scoring.THE_RATE:
        desk.progress.note(
            f"nothing that was tried keeps up with {question.ground.traffic.words}: answers come ever later"
        )
    room = _headroom(question, desk, found, winner, question.budget_s * share) if winner is not None and share else None
    return Tuned(found, winner, room, refused, desk.generator, time.monotonic() - began)


def _taken(
    question: Question, desk: Desk, found: Found, accept: Callable[[Trial], str]
) -> tuple[Trial | None, dict[int, str]]:
    """The first of the ranking that is accepted and, asked as often as its limit takes, still keeps it; or if none
    does, the first that is accepted. And why others weren't."""
    book = found.book
    refused: dict[int, str] = {}
    broke: list[Trial] = []
    for i, trial in enumerate(found.ranking):
        reason = accept(trial)
        if reason:
            refused[trial.id] = reason
            continue
        _more(question, desk, found, trial)
        if trial.id in book.failed:
            continue
        others = [t for t in found.ranking[i + 1 :] if book.missed(t)[0] <= 1]
        if book.missed(trial)[0] <= 1 or not (others or broke):
            return trial, refused
        broke.append(trial)
    return (broke[0] if broke else None), refused


def _more(question: Question, desk: Desk, found: Found, winner: Trial) -> None:
    """More rounds of the winner alone, where its limit is of a percentile that takes more requests to be shown, as long
    as there is time."""
    book = found.book
    while (lacking := scoring.unshown(book.figures(winner), question.slo)) and book.spent_s < question.budget_s:
        desk.progress.detail(f"{lacking[0]}: {lacking[1]:,} of {lacking[2]:,} requests")
        if book.missed(winner)[0] > 1:
            return
        try:
            book.rounds[winner.id].append(desk.measure(winner, book.sweeps + 1, question.ground.traffic))
        except TrialError as error:
            book.fail(winner, error)
            return


def round_seconds(traffic: Traffic, service_us: float) -> float:
    """How long a round is: enough requests for a tail, within bounds. ``service_us``: one call, about."""
    rate = traffic.rate if traffic.rate is not None else 1e6 / max(service_us, 1.0)
    return round(min(max(ENOUGH / rate, ROUND_S), LONGEST_ROUND_S), 3)


def cores() -> int:
    """Cores that this process, and so a server that it starts, may use."""
    return len(os.sched_getaffinity(0))


def _entrants(question: Question, contestants: Sequence[Contestant], desk: Desk) -> list[Entrant]:
    """With their service times; without, and told why, where they can't be had here (an engine that only the server
    has)."""
    ground = question.ground
    threads = tuple(sorted({s.threads for c in contestants for s in _space(c, question)} | {question.threads}))
    largest = max(ground.traffic.batches) * min(ground.traffic.clients or 8, 8)
    batches = (*(size for size in PROFILED if size < largest), largest)
    engines = {c.engine.id: c.engine for c in contestants}
    request = ProfileRequest(engines=tuple(engines.values()), rows=str(desk.rows), batches=batches, threads=threads)
    key = {
        "engines": [(e.id, e.runner, sha256_file(Path(e.model_file)), e.parameters) for e in engines.values()],
        "rows": sha256_file(desk.rows),
        "batches": batches,
        "threads": threads,
        "machine": machine(),
        "host": platform.node(),
    }

    def produce(folder: Path) -> ProfileReply:
        return service_times(desk.executor, request, folder, gpu=ground.kind == "gpu", confined=desk.confined)

    times: tuple[ServiceTime, ...] = ()
    try:
        times = desk.directory.stage("profile", key, produce, ProfileReply).value.times
    except TargetError as error:  # a kernel without a sandbox, or an engine that dies of it
        desk.progress.note(f"tuning goes without an estimate of what to try first: {error.message}")
    return [
        Entrant(c.id, c.backend, c.rank, tuple(time for time in times if time.id == c.engine.id)) for c in contestants
    ]


def service_times(
    executor: Executor, request: ProfileRequest, folder: Path, *, gpu: bool, confined: bool = True
) -> ProfileReply:
    """How long one call of each engine takes here. It may read what lies beside a model's file, as its runner does.
    TargetError where that can't be had: an engine isn't here or dies of it, or it is to be ``confined``, and the kernel
    has no sandbox."""
    beside = tuple(Path(engine.model_file).parent for engine in request.engines)
    done = executor.run(
        "millwork.tuning.service_times:profile",
        request,
        ProfileReply,
        folder=folder,
        limits=ROUND_LIMITS,
        sandbox=Sandbox(reads=beside, on=confined, gpu=gpu),
    )
    if isinstance(done, Failure):
        raise TargetError(done.message)
    return done.value


def _space(contestant: Contestant, question: Question) -> tuple[Settings, ...]:
    from . import knobs

    ground = question.ground
    return (*knobs.space(contestant.backend, ground), knobs.triton_default(contestant.backend, ground))


def _headroom(question: Question, desk: Desk, found: Found, winner: Trial, budget_s: float) -> Headroom | None:
    traffic = question.ground.traffic
    figures = found.book.figures(winner)
    start = traffic.rate if traffic.rate is not None else 0.5 * figures.requests_per_s
    spent = 0.0

    def ask(rate: float, number: int) -> samples.Samples | None:
        nonlocal spent
        if spent > budget_s:
            return None
        desk.progress.detail(f"head-room: {rate:,.0f} requests/s")
        try:
            seen = desk.measure(winner, number, traffic.at(round(rate, 3)), "headroom")
        except TrialError:
            return None
        spent += seen.spent_s
        return seen.samples

    return headroom.sweep(ask, question.slo, max(start, 1.0), figures.tail_us)


def _less(question: Question, budget_s: float) -> Question:
    from dataclasses import replace

    return replace(question, budget_s=budget_s)


def _loadable(bundle: Bundle, config: str) -> Loadable:
    manifest = bundle.manifest
    paths = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
    given, answers = golden_rows(bundle.folder, manifest)
    asked = Golden(given, answers, manifest.golden_abs, manifest.golden_rel)
    return Loadable(
        files={f"file:1/{path.relative_to(bundle.folder).as_posix()}": path.read_bytes() for path in paths},
        config=lambda name: triton_config.as_json(config, name=name),
        golden=asked,
    )


def _where(rig: Rig, serving: Serving) -> Where:
    """perf_analyzer is the managed Triton's; it can ask any server."""
    own = serving.installation if serving.installation is not None else install.find()
    program = own.perf_analyzer if own is not None and own.perf_analyzer else ""
    libraries = own.perf_libraries if own is not None else ()
    return Where(url=rig.session.url, pid=rig.pid, perf_analyzer=program, libraries=libraries)


def _decides(path: str) -> bool:
    """Whether a file of the version can change what is measured; the golden rows and the manifest don't."""
    return not path.endswith((".npz", "manifest.json"))
