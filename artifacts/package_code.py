"""The code in a version's folder: which of its files are code, and where the package has them.

A version holds data (the model's file, golden rows, tables) and code that a server will run (model.py, the runner, the
kernel's library). Code is always the package's own.
"""

from __future__ import annotations

from pathlib import Path

from ..compile import kernel
from ..compile.backends.fil import cpu as fil
from ..compile.backends.native import cuda
from ..compile.runners import cuda_device
from ..compile.runners import load as runners
from ..errors import TargetError
from ..passes import encoding
from ..values import Manifest

MODEL_PY = Path(__file__).with_name("triton_python") / "model.py"
RUNNER_FILE = "millwork_runner.py"
TABLES = frozenset({fil.ENCODER_FILE})
"""Data that an artifact of ours may have beside its model's file."""


def for_python(runner: str) -> dict[str, Path]:
    """What Triton's python backend runs, by its name in the version's folder: model.py, the runner, what it imports."""
    beside = {path.name: path for path in runners.beside(runner)}
    return {MODEL_PY.name: MODEL_PY, RUNNER_FILE: runners.source(runner), **beside}


def of(manifest: Manifest) -> dict[str, Path]:
    """The package's own file for each file of this version that is code. TargetError where this installation lacks
    one."""
    known = {
        kernel.LIBRARY: kernel.library(),
        fil.ENCODING_FILE: Path(encoding.__file__),
        cuda_device.SOURCE: kernel.CUDA / cuda_device.SOURCE,
        cuda_device.FATBIN: kernel.CUDA / cuda_device.FATBIN,
        **{Path(path).name: Path(path) for path in cuda.BESIDE},
    }
    found = for_python(manifest.runner) if manifest.triton_backend == "python" else {}
    for path in (entry.path for entry in manifest.files):
        if path in known and path != manifest.model_file:
            own = known[path]
            if own is None or not own.is_file():
                raise TargetError(
                    f"{path} is code, which is taken from this installation of millwork, and it has none",
                    "Install millwork where there is a C++ compiler (for GPUs: make cuda), or run optimize here.",
                )
            found[path] = own
    return found
