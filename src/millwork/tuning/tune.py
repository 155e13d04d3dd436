"""Tune: the best few candidates and their configurations on the real server, decided by what it measures."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import TargetError
from ..storage.files import sha256_file
from ..targets import machine
from ..triton.settings import Settings
from ..validators.traffic import Traffic
from ..values import Headroom
from . import headroom, knobs, other_way, scoring, search
from .load import samples
from .other_way import Other
from .search import Found
from .service_times import PROFILED, ProfileReply, ProfileRequest, RunnerFile, ServiceTime, measured
from .session import TuningSession
from .trials import SearchProblem, ServedCandidate, Trial, TrialError

ROUND_S, LONGEST_ROUND_S = 0.6, 3.0
"""Seconds of load a round."""
ENOUGH = 150
"""Requests that a round should have, so slow traffic gets longer rounds."""
HEADROOM_SHARE, HEADROOM_FROM_S = 0.15, 45.0
"""Of a budget of at least so many seconds, this share goes to the load sweep."""
HERE = ("localhost", "127.0.0.1", "::1", None)
"""Hosts that are this machine; a socket's path has none."""


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
    other: Other | None = None
    """The other way to serve, beside the winner."""
    conditions: tuple[str, ...] = ()
    """What else went on meanwhile."""


def tune(
    problem: SearchProblem,
    candidates: Sequence[ServedCandidate],
    session: TuningSession,
    accept: Callable[[Trial], str] = lambda _: "",
    aside: Sequence[ServedCandidate] = (),
) -> Tuned:
    """Search, take the best that ``accept`` has nothing against (it says why not), measure it beside what may not win
    (``aside``), and sweep its load.

    Raises PublicationError where a user's server is gone, and what the run directory raises.
    """
    began = time.monotonic()
    if session.serving.url and urlsplit(session.serving.url).hostname not in HERE:
        session.progress.note(
            f"millwork can't see how many cores {session.serving.url} has. It tries up to "
            f"{problem.workload.cores} instances times threads, the cores of this machine"
        )
    session.budget_s = problem.budget_s
    share = HEADROOM_SHARE if problem.budget_s >= HEADROOM_FROM_S else 0.0
    candidates = _with_service_times(problem, candidates, session)
    narrowed = replace(problem, budget_s=problem.budget_s * (1 - share))
    found = search.search(
        narrowed,
        candidates,
        lambda trial, sweep: session.measure(trial, sweep, problem.workload.traffic),
        lambda trial: session.memory.get(trial.id),
        session.progress.detail,
    )
    winner, refused = _taken(narrowed, session, found, accept)
    if winner is not None and not problem.slo.limits and found.state.over(winner)[1] == scoring.THE_RATE:
        session.progress.note(
            f"no configuration keeps up with {problem.workload.traffic.words}: latency grows without end"
        )
    other = None if winner is None else _beside(narrowed, session, found, winner, _timed(aside, candidates))
    room = (
        _headroom(problem, session, found, winner, problem.budget_s * share) if winner is not None and share else None
    )
    return Tuned(
        found, winner, room, refused, session.generator, time.monotonic() - began, other, tuple(session.conditions)
    )


def _timed(aside: Sequence[ServedCandidate], candidates: Sequence[ServedCandidate]) -> list[ServedCandidate]:
    """With the service times of the same files, which are among the candidates."""
    times = {candidate.id: candidate.service for candidate in candidates}
    return [replace(one, service=times.get(one.id, ())) for one in aside]


def _beside(
    problem: SearchProblem, session: TuningSession, found: Found, winner: Trial, aside: Sequence[ServedCandidate]
) -> Other | None:
    """Where a limit isn't kept, nothing is published, so nothing has another way."""
    if problem.slo.limits and found.state.missed(winner)[0] > 1:
        return None
    if aside:
        session.progress.detail(f"the same by {aside[0].backend}, beside it")
    traffic = problem.workload.traffic
    return other_way.measured(
        problem, found.state, winner, aside, lambda trial, sweep: session.measure(trial, sweep, traffic)
    )


def _taken(
    problem: SearchProblem, session: TuningSession, found: Found, accept: Callable[[Trial], str]
) -> tuple[Trial | None, dict[int, str]]:
    """The first of the ranking that is accepted and, asked as often as its limit takes, still keeps it; or if none
    does, the first that is accepted. And why others weren't."""
    state = found.state
    refused: dict[int, str] = {}
    broke: list[Trial] = []
    for i, trial in enumerate(found.ranking):
        reason = accept(trial)
        if reason:
            refused[trial.id] = reason
            continue
        _more(problem, session, found, trial)
        if trial.id in state.failed:
            continue
        others = [t for t in found.ranking[i + 1 :] if state.missed(t)[0] <= 1]
        if state.missed(trial)[0] <= 1 or not (others or broke):
            return trial, refused
        broke.append(trial)
    return (broke[0] if broke else None), refused


def _more(problem: SearchProblem, session: TuningSession, found: Found, winner: Trial) -> None:
    """More rounds of the winner alone, where its limit is of a percentile that takes more requests to be shown, as long
    as there is time."""
    state = found.state
    while (lacking := scoring.unshown(state.figures(winner), problem.slo)) and state.spent_s < problem.budget_s:
        session.progress.detail(f"{lacking[0]}: {lacking[1]:,} of {lacking[2]:,} requests")
        if state.missed(winner)[0] > 1:
            return
        try:
            state.rounds[winner.id].append(session.measure(winner, state.sweeps + 1, problem.workload.traffic))
        except TrialError as error:
            state.fail(winner, error)
            return


def round_seconds(traffic: Traffic, service_us: float) -> float:
    """How long a round is: enough requests for a tail, within bounds. ``service_us``: one call, about."""
    rate = traffic.rate if traffic.rate is not None else 1e6 / max(service_us, 1.0)
    return round(min(max(ENOUGH / rate, ROUND_S), LONGEST_ROUND_S), 3)


def cores() -> int:
    """Cores that this process, and so a server that it starts, may use."""
    return len(os.sched_getaffinity(0))


def _with_service_times(
    problem: SearchProblem, candidates: Sequence[ServedCandidate], session: TuningSession
) -> list[ServedCandidate]:
    """The candidates with their service times. Where those can't be had here (an engine that only the server has), they
    are left out, and the user is told."""
    workload = problem.workload
    threads = tuple(sorted({s.threads for c in candidates for s in _space(c, problem)} | {problem.threads}))
    largest = max(workload.traffic.batches) * min(workload.traffic.clients or 8, 8)
    batches = (*(size for size in PROFILED if size < largest), largest)
    files = {c.id: RunnerFile.of(c.bundle) for c in candidates}
    request = ProfileRequest(files=tuple(files.values()), rows=str(session.rows), batches=batches, threads=threads)
    key = {
        "files": [(f.id, f.runner, sha256_file(Path(f.model_file)), f.parameters) for f in files.values()],
        "rows": sha256_file(session.rows),
        "batches": batches,
        "threads": threads,
        "machine": machine(),
        "host": platform.node(),
    }

    def produce(folder: Path) -> ProfileReply:
        return measured(session.executor, request, folder, gpu=workload.kind == "gpu", confined=session.confined)

    times: tuple[ServiceTime, ...] = ()
    try:
        times = session.directory.stage("profile", key, produce, ProfileReply).value.times
    except TargetError as error:  # a kernel without a sandbox, or an engine that dies of it
        session.progress.note(f"tuning starts without an estimate of what to try first: {error.message}")
    return [replace(c, service=tuple(time for time in times if time.id == c.id)) for c in candidates]


def _space(candidate: ServedCandidate, problem: SearchProblem) -> tuple[Settings, ...]:
    workload = problem.workload
    return (*knobs.space(candidate.backend, workload), knobs.triton_default(candidate.backend, workload))


def _headroom(
    problem: SearchProblem, session: TuningSession, found: Found, winner: Trial, budget_s: float
) -> Headroom | None:
    traffic = problem.workload.traffic
    figures = found.state.figures(winner)
    start = traffic.rate if traffic.rate is not None else 0.5 * figures.requests_per_s
    spent = 0.0

    def ask(rate: float, number: int) -> samples.Samples | None:
        nonlocal spent
        if spent > budget_s:
            return None
        session.progress.detail(f"head-room: {rate:,.0f} requests/s")
        try:
            seen = session.measure(winner, number, traffic.at(round(rate, 3)), "headroom")
        except TrialError:
            return None
        spent += seen.spent_s
        return seen.samples

    return headroom.sweep(ask, problem.slo, max(start, 1.0), figures.tail_us)
