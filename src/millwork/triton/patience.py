"""How long a server may take for a version. Light to import: ``--help`` reads it."""

from __future__ import annotations

import math

from ..errors import UsageError

VERIFY_S = 120.0
"""To load a version and to answer its golden rows; and, where that fails, to load the one before again."""
LONGEST_VERIFY_S = 86400.0


def checked(seconds: float) -> float:
    """``--verify-timeout``; UsageError where it can't be one."""
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_VERIFY_S):
        raise UsageError(f"--verify-timeout {seconds:g}: expected above 0, at most {LONGEST_VERIFY_S:.0f} seconds")
    return seconds
