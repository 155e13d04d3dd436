"""Why each setting is as it is: what was measured with it otherwise, as a comment for config.pbtxt."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import msgspec

from .. import units
from ..artifacts.report import text
from ..values import Figures, Interval
from . import scoring
from .knobs import BATCHING, Knob, table
from .search import Found, SearchState
from .trials import SearchProblem, Trial

WIDTH = 100

UNITS = {"throughput": "rows/s", "latency": "latency", "cost": "CPU time a request"}


def reasons(found: Found, winner: Trial) -> dict[str, str]:
    """A comment for each setting of the winner, by its path in config.pbtxt."""
    knobs = table(winner.candidate.backend, winner.settings.kind)
    out = {knob.path: _wrapped(_reason(found, winner, knob)) for knob in knobs if _is_said(winner, knob)}
    out["max_batch_size"] = _wrapped(
        "the most rows in a request or a batch: covers the traffic's largest request, with room for larger ones"
    )
    return out


def heading(found: Found, winner: Trial, server: str) -> str:
    """What was asked, and what it came to, in a few lines."""
    state = found.state
    problem, figures = state.problem, state.figures(winner)
    slo = f", limit {problem.slo.words}" if problem.slo.limits else ""
    best = _said(figures)
    lines = [
        f"Tuned on {server} for {problem.workload.traffic.words}{slo}; objective: {problem.objective}.",
        f"{best}; {_tried(found)}, {figures.samples:,} requests of this one.",
    ]
    base = state.baseline
    if base.id in state.rounds and base.id != winner.id:
        other = state.figures(base)
        lines.append(f"Triton's default here ({base.settings.words}): {_said(other)}.")
    if not winner.settings.batching:
        lines.append(f"No dynamic batching; {_reason(found, winner, BATCHING)}.")
    return "\n".join(lines)


def _said(figures: Figures) -> str:
    p50, p99 = units.duration(figures.p50_us), units.duration(figures.p99_us)
    return f"{figures.rows_per_s:,.0f} rows/s, p50 {p50}, p99 {p99}"


def _tried(found: Found) -> str:
    return text.tried(len(found.state.rounds), len({place(trial) for trial in (*found.space, *found.state.trials)}))


def place(trial: Trial) -> tuple[str, str, bytes]:
    """What tells a configuration from the others."""
    return trial.candidate.id, trial.candidate.backend, msgspec.json.encode(trial.settings)


def gain(state: SearchState, winner: Trial) -> tuple[float, Interval] | None:
    """How many times the default's figure of merit the winner's is, over the sweeps that both were in; the latency's
    own ratio is the inverse. None where it is the default."""
    base = state.baseline
    if base.id not in state.rounds or base.id == winner.id:
        return None
    return ratio(state, winner, base)


def ratio(state: SearchState, a: Trial, b: Trial) -> tuple[float, Interval] | None:
    """a's score over b's; None where they were never measured together."""
    mine, others = state.scores(a), state.scores(b)
    common = sorted(mine.keys() & others.keys())
    if not common:
        return None
    gaps = [mine[n] - others[n] for n in common]
    mean = math.exp(scoring.trimmed(gaps)[0])
    if len(gaps) < 2:
        return mean, Interval(low=0.0, high=0.0)
    found = scoring.difference(gaps, [0.0] * len(gaps))
    return mean, Interval(low=math.exp(found.low), high=math.exp(min(found.high, 50.0)))


def _reason(found: Found, winner: Trial, knob: Knob) -> str:
    state = found.state
    same = [
        t for t in (*state.trials, *found.space) if t.candidate is winner.candidate and _differs_only(winner, t, knob)
    ]
    others = [t for t in same if t.id in state.rounds]
    told = [line for other in others if (line := _compared(state, winner, other, knob))]
    if not told:
        told = [line for other in same if (line := _estimated(state.problem, winner, other, knob))][:2]
    if not told:
        return f"{knob.what}: {_untried(winner, same, knob)}"
    return f"{knob.what}: {'; '.join(told)}"


def _compared(state: SearchState, winner: Trial, other: Trial, knob: Knob) -> str:
    found = ratio(state, other, winner)
    if found is None:
        return ""
    mean, spread = found
    what = UNITS[state.problem.objective]
    if state.problem.objective != "throughput":
        mean, spread = 1 / mean, Interval(low=_inverse(spread.high), high=_inverse(spread.low))
    within = f" ({spread.low:.2f} to {spread.high:.2f})" if spread.high else ""
    beyond, limit = state.over(other)
    missed = f", {beyond:.2f} times the limit {limit}" if beyond > 1 and limit else ""
    return f"{_value(other, knob)} gave {mean:.2f} times the {what}{within}{missed}"


def _estimated(problem: SearchProblem, winner: Trial, other: Trial, knob: Knob) -> str:
    """By the queueing estimate, in the objective's unit, where that has it for no better. An estimate is no reason to
    say that what wasn't tried would have been better."""
    if winner.expected is None or other.expected is None or other.id:
        return ""
    mine, others = winner.expected, other.expected
    if problem.objective == "throughput":
        times = others.throughput / max(mine.throughput, 1e-9)
        worse = times <= 1 - scoring.MARGIN
    elif problem.objective == "latency":
        times = others.tail_us / max(mine.tail_us, 1e-9)
        worse = times >= 1 + scoring.MARGIN
    else:
        return ""  # the estimate knows nothing of CPU time
    what = UNITS[problem.objective]
    return f"{_value(other, knob)} wasn't tried: {times:.2f} times the {what} by the queueing estimate" if worse else ""


def _untried(winner: Trial, same: Sequence[Trial], knob: Knob) -> str:
    """Where nothing that was measured, and no estimate, speaks for the setting."""
    others = dict.fromkeys(value for trial in same if (value := _value(trial, knob)) != _value(winner, knob))
    if not others:
        return "there was no other value to try"
    return f"as in the best of those tried; {', '.join(others)} wasn't tried beside it"


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else 0.0


def _differs_only(a: Trial, b: Trial, knob: Knob) -> bool:
    mine, others = _all(a), _all(b)
    together = {"batching", "delay_us", "preferred"}
    waits = knob.name in together
    named = {knob.name} | (together if waits else set())
    changed = {name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)}
    return bool(changed) and knob.name in changed and changed <= named


def _all(trial: Trial) -> dict[str, object]:
    settings = trial.settings
    return {
        "instances": settings.instances,
        "threads": settings.threads,
        "batching": settings.batching,
        "delay_us": settings.delay_us,
        "preferred": settings.preferred,
        "max_queue": settings.max_queue,
        **settings.own,
    }


def _value(trial: Trial, knob: Knob) -> str:
    value = _all(trial)[knob.name]
    if knob.name == "batching":
        return "batching" if value else "no batching"
    units = {"instances": "instance", "threads": "thread"}
    if knob.name in units:
        return f"{value} {units[knob.name]}{'' if value == 1 else 's'}"
    return f"{value} µs" if knob.name == "delay_us" else str(value)


def _is_said(winner: Trial, knob: Knob) -> bool:
    """Whether config.pbtxt has a line for the knob at all."""
    value = _all(winner).get(knob.name)
    return value not in (None, False, (), "") and not (knob.name in ("delay_us", "max_queue") and value == 0)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH))
