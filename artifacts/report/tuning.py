"""What the page and the Markdown say of a tuning: facts, a line a trial, and the pictures."""

from __future__ import annotations

from ...values import Record, TrialRecord, Tuning, Value
from . import text
from .sections import Fact
from .tuning_chart import Split, Sweep, Trade, split, sweep, tail_name, trade, word
from .verdict import limits

GENERATORS = {
    "perf_analyzer": "perf_analyzer, a closed loop",
    "asyncio": "millwork's own clients; in an open loop, times count from the scheduled arrival",
}
DID = {
    "best": "chosen",
    "closest": "the closest to the limit",
    "default": "Triton's default",
    "kept": "",
    "missed": "over a limit",
    "failed": "couldn't serve",
}


FOOT = (
    "Times are as the client sees them, over all rounds of a trial. A trial with fewer rounds was stopped "
    "early. Rows a call: the mean number of rows in one execution of the model."
)


class Row(Value):
    """A trial: its number, what it is, figures as text, and how it did."""

    id: int
    name: str
    word: str
    cells: tuple[str, ...]
    did: str


class Tuned(Value):
    facts: tuple[Fact, ...]
    rows: tuple[Row, ...]
    trade: Trade | None
    split: Split | None
    sweep: Sweep | None
    tail: str
    foot: str
    missed: bool


def tuned(record: Record) -> Tuned | None:
    """None where nothing was measured on a server."""
    tuning = record.tuning
    if tuning is None or not tuning.trials:
        return None
    return Tuned(
        facts=_facts(record, tuning),
        rows=tuple(_row(tuning, trial) for trial in tuning.trials),
        trade=trade(tuning),
        split=split(tuning),
        sweep=sweep(tuning),
        tail=tail_name(tuning),
        foot=FOOT,
        missed=tuning.met is False,
    )


def _facts(record: Record, tuning: Tuning) -> tuple[Fact, ...]:
    assumed = f"assumed: {tuning.assumed}" if tuning.assumed else ""
    measured = sum(trial.figures is not None for trial in tuning.trials)
    found = "the closest" if tuning.met is False else "the choice"
    lines = {
        "Traffic": (tuning.traffic, assumed, f"sent by {GENERATORS.get(tuning.generator, tuning.generator)}"),
        "Limit": (tuning.slo or "none was given", *(limits(record) or (_kept(tuning),))),
        "Objective": (tuning.objective,),
        "Closest" if tuning.met is False else "Chosen": _chosen(tuning),
        "Limited by": (tuning.limited_by,),
        "Head-room": _headroom(tuning),
        "Search": (
            f"{found} is {text.tried(measured, tuning.considered)}, found in {text.seconds(tuning.seconds)}",
            f"on {tuning.server}",
            f"the search ended: {tuning.why}" if tuning.why else "",
        ),
    }
    return tuple(Fact(term=term, lines=kept) for term, said in lines.items() if (kept := tuple(filter(None, said))))


def _kept(tuning: Tuning) -> str:
    if tuning.met is None:
        return ""
    if tuning.met:
        return "kept"
    over = tuning.best.over if tuning.best is not None else 0.0
    return f"NOT kept: the closest is {text.figures(over)} times the limit" if over else "NOT kept"


def _chosen(tuning: Tuning) -> tuple[str, ...]:
    best = tuning.best
    if best is None or best.figures is None:
        return ("nothing: no configuration could serve",)
    lines = [f"{best.candidate} by Triton's {best.backend} backend: {best.words}"]
    if tuning.gain is not None:
        spread = tuning.gain_ci
        within = f" (95% interval {spread.low:.2f} to {spread.high:.2f})" if spread is not None and spread.high else ""
        what = text.RATIOS.get(tuning.objective, "the default")
        lines.append(f"{tuning.gain:.2f} times {what}{within}")
    return tuple(lines)


def _headroom(tuning: Tuning) -> tuple[str, ...]:
    room = tuning.headroom
    if room is None:
        return ()
    if room.rate is None:
        return (f"none of the rates that were tried keeps {room.limit}",)
    beyond = f", and exceeds it at {room.breaks_at:,.0f}" if room.breaks_at is not None else ""
    late = (
        ("above that rate millwork's load generator was late, so the server may sustain more",)
        if room.client_bound
        else ()
    )
    return (f"keeps {room.limit} up to {room.rate:,.0f} requests/s{beyond}", *late)


def _row(tuning: Tuning, trial: TrialRecord) -> Row:
    seen = trial.figures
    cells = (
        (text.NONE,) * 5
        if seen is None
        else (
            text.figures(seen.rows_per_s),
            text.duration(seen.p50_us),
            text.duration(seen.p99_us),
            text.figures(seen.batch_rows),
            text.whole(seen.rounds),
        )
    )
    stands = word(tuning, trial)
    kept = "closest" if stands == "best" and tuning.met is False else stands
    did = "; ".join(part for part in (DID[kept], trial.reason) if part)
    return Row(id=trial.id, name=f"{trial.candidate}, {trial.words}", word=stands, cells=cells, did=did)
