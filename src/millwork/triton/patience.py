"""How long a server may take for a version."""

from __future__ import annotations

import math

from ..errors import UsageError

LONGEST_VERIFY_S = 86400.0


def checked(seconds: float) -> float:
    """``--verify-timeout``; UsageError where it can't be one."""
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_VERIFY_S):
        raise UsageError(f"--verify-timeout {seconds:g}: expected above 0, at most {LONGEST_VERIFY_S:.0f} seconds")
    return seconds
