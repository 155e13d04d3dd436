"""What a storm does, drawn from its seed: which commands, on what, and who dies of which signal.

The same seed gives the same plan. When a signal comes is a share of what such a command takes, so the moment itself
isn't the same again.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass

from storms.known import Known

PUBLISH, WRONG, ROLLBACK, SILENT, SMALL = "publish", "wrong", "rollback", "silent", "small"
"""A good version; one that must be refused; an earlier one; a good one whose server falls silent; a good one by a
process that may write no large file."""

REAL = 12
"""One of so many commands is a process of its own from the start; the others are forked from one that imported all."""
DOOMS = {signal.SIGKILL: 0.34, signal.SIGTERM: 0.07, signal.SIGINT: 0.07}
"""The share of commands that get each signal."""
SIZES = (0, 3000, 300_000)
"""Bytes of the largest file that a process of the kind SMALL may write."""
LATEST = 1.15
"""A signal comes at most after so many times what such a command takes; then it may have ended by itself."""


@dataclass(frozen=True)
class Job:
    """``variant``: what is published; for a wrong one what is wrong with it. ``doom``: the signal it gets, or 0, after
    the share ``after`` of what such a command takes. ``real``: it is a process of its own from the start."""

    number: int
    kind: str
    name: str
    variant: str = ""
    doom: int = 0
    after: float = 0.0
    real: bool = False
    limit: int = -1

    @property
    def words(self) -> str:
        end = f", {signal.Signals(self.doom).name} after {self.after:.2f} of its time" if self.doom else ""
        return f"job {self.number}: {self.kind} {self.name} {self.variant}{' (real)' if self.real else ''}{end}"


def drawn(rng: random.Random, number: int, known: Known, kinds: dict[str, float], wrong: tuple[str, ...]) -> Job:
    """The next command. ``kinds``: how often each comes, as weights. ``wrong``: what is wrong with wrong ones."""
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    doom = rng.choices([0, *DOOMS], [1 - sum(DOOMS.values()), *DOOMS.values()])[0]
    after = rng.uniform(0.02, LATEST)
    real = rng.randrange(REAL) == 0 and kind != SMALL
    what = rng.choice(wrong)
    return Job(
        number=number,
        kind=kind,
        name=rng.choice(known.names),
        variant={WRONG: what, ROLLBACK: ""}.get(kind, rng.choice(known.variants)),
        doom=int(doom),
        after=after,
        real=real,
        limit=rng.choice(SIZES) if kind == SMALL else -1,
    )
