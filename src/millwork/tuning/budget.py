"""How long tuning may take."""

from __future__ import annotations

TUNE_S, SHORT_TUNE_S, LONGEST_TUNE_S = 90.0, 20.0, 3600.0
"""Seconds: where a traffic or a limit was said, where nothing was, and at most."""
