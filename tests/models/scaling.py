"""A model for Triton's python backend that multiplies by a number: a bundle that is made in no time."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
from artifacts.conftest import manifest_of

from millwork.artifacts.bundle import Bundle, seal
from millwork.triton.config import ConfigRequest, render
from millwork.triton.settings import Settings
from millwork.triton_releases import find
from millwork.values import OutputContract

MODEL = Path(__file__).parents[1] / "artifacts" / "triton_models" / "scale.py"
ROWS = np.array([[1.0, 2.0], [-3.0, 0.5]], dtype=np.float32)


def scaling(folder: Path, factor: str, answers: float, name: str = "m") -> Bundle:
    """It multiplies by ``factor``, and fails to load where that is no number; its golden rows say that it should be by
    ``answers``."""
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.py")
    (folder / "factor.txt").write_text(factor)
    np.savez(folder / "golden.npz", x=ROWS, y=answers * ROWS)
    manifest = msgspec.structs.replace(manifest_of(name), triton_backend="python", model_file="factor.txt")
    request = ConfigRequest(
        name=name,
        triton_backend="python",
        release=find("24.10"),
        model_file="factor.txt",
        model_sha256="ab",
        features=2,
        output=OutputContract(kind="probability", task="binary", labels=("no", "yes")),
        settings=Settings(),
    )
    return seal(folder, manifest, render(request))
