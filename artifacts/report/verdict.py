"""What a run came to, in one sentence; and how each candidate stands in it, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...values import CandidateRecord, Record, Value, Winner
from .text import one_line

Outcome = Literal["verified", "unverified", "ready", "measured", "nothing"]
"""Published and verified, published only, a dry run, a bench; or nothing published."""


class Verdict(Value):
    """``sentence`` is a whole one; ``because`` says more, or is empty."""

    outcome: Outcome
    sentence: str
    because: str = ""


class Standing(Value):
    """One candidate's place in the run. ``word``: winner, lost, passed, failed, unsupported, error; closest: what came
    nearest to a limit that none keeps."""

    word: str
    why: str


MARKS: dict[Outcome, str] = {"verified": "✓", "unverified": "!", "ready": "✓", "measured": "✓", "nothing": "✗"}


def verdict(record: Record) -> Verdict:
    """The verdict on a run."""
    if record.publication is not None:
        return _published(record)
    passed = [candidate.id for candidate in record.candidates if candidate.status == "passed"]
    if not passed:
        return _none_passed(record)
    if record.stopped:
        head, *rest = record.stopped.splitlines()
        because = " ".join(_end(line[:1].upper() + line[1:]) for line in map(str.strip, rest) if line)
        return Verdict(outcome="nothing", sentence=f"Nothing is published: {_end(head)}", because=because)
    if record.winner is not None:
        sentence = f"Dry run, nothing is published: {record.winner.id} passed parity and was chosen."
        return Verdict(outcome="ready", sentence=sentence, because=_because(record.winner))
    if not record.target.is_target:
        return Verdict(
            outcome="nothing",
            sentence=f"Nothing is published: the target {record.target.name} isn't here, so nothing was measured.",
            because=f"Built and passed parity: {', '.join(passed)}.",
        )
    return Verdict(outcome="measured", sentence="Candidates only: nothing was chosen and nothing is published.")


def standing(record: Record, candidate: CandidateRecord) -> Standing:
    """Where ``candidate`` stands among the record's."""
    if candidate.status != "passed":
        return Standing(word=candidate.status, why=candidate.reason)
    if record.winner is None:
        return Standing(word="passed", why=candidate.reason)
    if record.winner.id != candidate.id:
        return Standing(word="lost", why=candidate.reason)
    why = "; ".join(part for part in (record.winner.why, candidate.reason) if part)
    return Standing(word="closest" if missed(record) else "winner", why=why)


def missed(record: Record) -> bool:
    """Whether a limit was given, and nothing keeps it."""
    return record.tuning is not None and record.tuning.met is False


def limits(record: Record) -> tuple[str, ...]:
    """Each limit that was given, answered."""
    if record.tuning is None:
        return ()
    said = {True: "met", False: "NOT met", None: "not known"}
    return tuple(f"{said[limit.met]}: {limit.found}" for limit in record.tuning.limits)


def model_name(record: Record) -> str:
    """What the report is called after: the published name, else the model's file."""
    if record.publication is not None:
        return record.publication.name
    return Path(record.model.path).name or record.model.framework


def notes(record: Record) -> tuple[str, ...]:
    """The run's notes and the model's, each once."""
    conditions = record.tuning.conditions if record.tuning is not None else ()
    return tuple(dict.fromkeys((*record.model.notes, *record.notes, *conditions)))


def _published(record: Record) -> Verdict:
    published = record.publication
    if published is None:
        raise ValueError("the record has no publication")
    what = f"{record.winner.id} is published" if record.winner else "Published"
    where = f"{what} as version {published.version} of {published.name}"
    because = _because(record.winner)
    if published.verified:
        return Verdict(
            outcome="verified",
            sentence=f"{where} and verified on {published.server or 'a real Triton'}.",
            because=because,
        )
    return Verdict(outcome="unverified", sentence=f"{where}, not verified: no server was asked.", because=because)


def _none_passed(record: Record) -> Verdict:
    statuses = {candidate.status for candidate in record.candidates}
    if "failed" in statuses:
        why = "no candidate answers as the framework does"
    elif statuses:
        why = "no candidate could be built and checked"
    elif record.stopped:
        why = record.stopped.partition("\n")[0]
    else:
        why = "there was no candidate to judge"
    return Verdict(outcome="nothing", sentence=f"Nothing is published: {_end(why)}")


def _because(winner: Winner | None) -> str:
    return f"It is {_end(winner.why)}" if winner and winner.why else ""


def _end(text: str) -> str:
    """With a full stop."""
    plain = one_line(text).rstrip(":;,")
    return plain if plain.endswith((".", "!", "?")) else f"{plain}."
