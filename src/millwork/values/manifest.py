"""What a published version says of itself: ``manifest.json``."""

from __future__ import annotations

import msgspec

from .base import Value
from .contracts import FeatureContract, ModelSummary, OutputContract, Provenance
from .measurements import Latency, Parity
from .record import TargetSummary
from .served import ServedWay
from .tensorrt_plan import PlanFacts

SCHEMA = 1
"""Version of run.json and manifest.json."""


class FileDigest(Value):
    path: str
    sha256: str
    bytes: int


class Manifest(Value):
    """``manifest.json`` in a version's folder: all that a client or an auditor needs to know of it.

    ``backend`` is ours (reference, onnx, fil, …), ``triton_backend`` the server's; ``model_file`` is what the runner
    opens, ``runner`` the module of compile/runners that does, and ``parameters`` are its settings. ``requirements``:
    what the python backend's environment needs. ``engine``: what ran the artifact when it was judged, with its version.
    ``plan``: of a TensorRT engine, what it was built by and for. ``served``: by what it is served, what a stock Triton
    lacks for that, and what the other way gave when it was published.
    """

    schema: int
    name: str
    created: str
    millwork: str
    backend: str
    precision: str
    triton_backend: str
    triton_release: str
    model_file: str
    features: FeatureContract
    output: OutputContract
    model: ModelSummary
    source: Provenance
    parity: Parity
    latency: tuple[Latency, ...]
    target: TargetSummary
    requirements: tuple[str, ...]
    files: tuple[FileDigest, ...]
    runner: str = ""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    golden_file: str = "golden.npz"
    engine: str = ""
    golden_abs: float = 0.0
    golden_rel: float = 0.0
    plan: PlanFacts | None = None
    served: ServedWay | None = None

    @property
    def candidate_id(self) -> str:
        """The id that the candidate had in its run."""
        return f"{self.backend}-{self.precision}"
