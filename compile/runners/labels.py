"""Labels instead of probabilities, for the runners that decide for themselves. Lies beside them; numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np


def decided(answers: Any, how: str, cut: float) -> Any:
    """float32 (see passes/program.py): ``how`` is largest, each or second; ``cut``: above it a label is given."""
    if how == "largest":
        return answers.argmax(axis=1)[:, None].astype(np.float32)
    return ((answers if how == "each" else answers[:, 1:2]) > np.float32(cut)).astype(np.float32)
