"""What to say where a column isn't there: which of the file's columns is likely meant, those in use already apart."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

MOST_SHOWN, MOST_MEANT = 12, 3
LIKELY = 0.6


def hint(lacking: Sequence[str], names: Sequence[str], used: Sequence[str]) -> str:
    """For ``lacking`` columns of a file that has ``names``, of which ``used`` are taken for something else."""
    unused = [name for name in dict.fromkeys(names) if name not in set(used)]
    if len(names) == 1 and (mark := next((mark for mark in ";|" if mark in names[0]), "")):
        which = {";": "semicolons", "|": "bars"}[mark]
        return f"The file has one column, and its name has {which} in it. Save the file with commas."
    meant = {name: near for name in lacking[:MOST_MEANT] if (near := _likeliest(name, unused, LIKELY)[:1])}
    if len(lacking) == 1 and meant:
        said = f"Did you mean {meant[lacking[0]][0]!r}? "
    else:
        pairs = ", ".join(f"{near[0]!r} for {name!r}" for name, near in meant.items())
        said = f"Did you mean {pairs}? " if pairs else ""
    return f"{said}{_shown(lacking, list(dict.fromkeys(names)), unused)}"


def _shown(lacking: Sequence[str], names: Sequence[str], unused: Sequence[str]) -> str:
    """The file's columns; of many those that aren't used, the likeliest first."""
    if not names:
        return "The file has no columns."
    if len(names) <= MOST_SHOWN or not unused:
        return f"The file has: {', '.join(names[:MOST_SHOWN])}{', …' if len(names) > MOST_SHOWN else ''}."
    near = _likeliest(lacking[0], unused, 0.0)[:MOST_SHOWN]
    more = ", …" if len(unused) > len(near) else ""
    return f"The file's columns that aren't used yet: {', '.join(near)}{more}."


def _likeliest(wanted: str, names: Sequence[str], least: float) -> list[str]:
    found = [(_likeness(wanted, name), -i, name) for i, name in enumerate(names)]
    return [name for likeness, _, name in sorted(found, reverse=True) if likeness >= least]


def _likeness(one: str, other: str) -> float:
    """From 0 to 1: 1 for names that differ in capitals, blanks and marks only; much for one that holds the other."""
    one, other = _bare(one), _bare(other)
    if one and one == other:
        return 1.0
    inside = min(len(one), len(other)) >= 4 and (one in other or other in one)
    return max(difflib.SequenceMatcher(None, one, other).ratio(), 0.8 if inside else 0.0)


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())
