"""What the gate found of a candidate, in a line."""

from __future__ import annotations

from ..artifacts.report.text import difference
from ..validators.parity import Verdict


def in_words(name: str, verdict: Verdict, *, net: bool) -> str:
    """What the gate found. A net that was lowered isn't equal, only as near as its precision may be."""
    parity = verdict.parity
    lowered = net and not name.endswith("-fp32")
    near = "near enough" if lowered else "equal"
    found = near if verdict.passed else f"NOT {near}"
    leaves = "" if net else f"{parity.leaf_mismatches or 0:,} wrong leaves, "
    off = "no answer differs" if parity.max_abs == 0 else f"answers within {difference(parity.max_abs)}"
    flips = f", {parity.decision_flips:,} rows are decided differently" if lowered else ""
    return f"{name}: {found} on {parity.rows:,} rows, {leaves}{off}{flips}"
