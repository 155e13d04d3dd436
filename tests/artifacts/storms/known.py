"""What is known before a storm: the run directories to publish, whose contents are right, and what each answers.

``prepare.py`` makes them. A content is known by the sha256 of its model's file; nothing else may ever serve.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIGNED = "signed"
"""The one of ``names`` whose versions are all signed."""
FILE, ROWS, ANSWERS, KEY, PUBLIC = "known.json", "rows.npy", "answers.npz", "key.pem", "public.pem"

DAMAGED, MISJUDGED, SWAPPED = "damaged", "misjudged", "swapped"
"""What is wrong with a wrong run directory: a flipped bit; answers of its golden rows that no model gave; another
model's file. The digests beside the last two were written again, so only asking them, or the model, tells."""


@dataclass(frozen=True)
class Known:
    """``contents``: the sha256 of a model's file -> the variant it is of. ``rows`` [N, F] float32; ``answers``: the
    variant -> [N, K] float32, as the framework answers."""

    folder: Path
    names: tuple[str, ...]
    variants: tuple[str, ...]
    contents: dict[str, str]
    rows: Floats
    answers: dict[str, Floats]

    def run(self, name: str, variant: str) -> Path:
        """The run directory; for a wrong one ``variant`` is what is wrong with it."""
        return self.folder / f"{name}-{variant}"

    @property
    def key(self) -> Path:
        return self.folder / KEY

    @property
    def public(self) -> Path:
        return self.folder / PUBLIC

    def variant_that_answers(self, got: Floats, first: int) -> str:
        """Whose answers these are, to the rows from ``first`` on; empty where they are nobody's."""
        for variant, answers in self.answers.items():
            expected = answers[first : first + len(got)]
            if got.shape == expected.shape and np.allclose(got, expected, rtol=1e-5, atol=1e-6):
                return variant
        return ""


def load(folder: Path) -> Known:
    said: dict[str, Any] = json.loads((folder / FILE).read_text())
    with np.load(folder / ANSWERS) as answers:
        return Known(
            folder=folder,
            names=tuple(said["names"]),
            variants=tuple(said["variants"]),
            contents=said["contents"],
            rows=np.load(folder / ROWS),
            answers={variant: answers[variant] for variant in said["variants"]},
        )


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
