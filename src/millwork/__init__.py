"""millwork: compiler and release gate for tabular models on Triton Inference Server.

    record = millwork.optimize(model, data=frame, label="y", repository="./models")
    millwork.save_net(net, example, "net.pt2", task="binary")

``optimize`` returns what the run found, the same document as ``run.json``, and raises one of these where the command
line would exit with another code than 0:

    UsageError 2 · ModelError 3 · ParityError 4 · TargetError 5 · SloError 6 · PublicationError 7 · InternalError 70
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    InternalError,
    MachineError,
    MillworkError,
    ModelError,
    ParityError,
    PublicationError,
    SloError,
    TargetError,
    UsageError,
)

if TYPE_CHECKING:
    from .api import optimize
    from .export_net import save_net
    from .values import Record

__version__ = "0.1.0"

__all__ = [
    "InternalError",
    "MachineError",
    "MillworkError",
    "ModelError",
    "ParityError",
    "PublicationError",
    "Record",
    "SloError",
    "TargetError",
    "UsageError",
    "__version__",
    "optimize",
    "save_net",
]


def __dir__() -> list[str]:
    """What an editor or a notebook offers: ``optimize`` too, before it has been asked for."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """``optimize``, ``save_net`` and ``Record``, imported when they are asked for: a worker imports this package
    too."""
    if name == "optimize":
        from .api import optimize

        return optimize
    if name == "save_net":
        from .export_net import save_net

        return save_net
    if name == "Record":
        from .values import Record

        return Record
    raise AttributeError(f"module 'millwork' has no attribute {name!r}")
