"""What a backend is: a program in, a folder of files and a way to run them out, or why it can't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ...passes.net import Net
from ...passes.program import Program
from ...triton_releases import Release
from ...values import LayerCost, PassNote, Value
from ...values.tensorrt_plan import PlanFacts
from ..frontends.loaded_model import Signature

Leaves = npt.NDArray[np.int32]
Table = npt.NDArray[np.float64]


class Artifact(Value):
    """A candidate's files, in a folder of their own.

    ``model_file`` is what the runner opens, ``runner`` the module under compile/runners that opens it and
    ``parameters`` that runner's settings. ``triton_backend`` is Triton's own backend for the file, or ``python``;
    ``requirements`` are what the python backend's environment needs to run it. ``files``: what else of the folder the
    runner needs beside the model's file. ``foreign``: of an ONNX graph, its operators that aren't ai.onnx's own, which
    TensorRT has none of. ``plan``: of a TensorRT engine, what it was built by and for.
    ``layers``: of a net in a lower precision, what each layer costs.
    """

    backend: str
    precision: str
    model_file: str
    runner: str
    triton_backend: str
    parameters: dict[str, str]
    requirements: tuple[str, ...]
    passes: tuple[PassNote, ...] = ()
    timed_by: str = ""
    files: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    plan: PlanFacts | None = None
    layers: tuple[LayerCost, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.backend}-{self.precision}"


class Unsupported(Value):
    """A backend that can't express the program: what, and why. Never a near miss."""

    reason: str


class Source(Value):
    """What a backend may need beside the program: the native file and the model's signature. ``converted``: the folder
    with what a tool of an environment of its own made; empty where none was asked."""

    native: str
    signature: Signature
    converted: str = ""


class Kind(Protocol):
    """What every backend says of itself. ``rank`` orders ties: the simpler and more portable first."""

    @property
    def name(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def rank(self) -> int: ...


class Backend(Kind, Protocol):
    """One kind of candidate of a forest."""

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        """Write the candidate's files into ``folder``, which exists and is empty. ``program`` is lowered."""
        ...

    def leaves(self, artifact: Artifact, folder: Path, rows: npt.NDArray[np.float32], categories: Any = None) -> Leaves:
        """The leaf of each row in each tree, asked of the built artifact itself, not of the program: int32 [N, T'].

        Numbers are :meth:`expected`'s. ``rows`` and ``categories``: the client's, float32 [N, F], and [N, C] where the
        model takes them. A T' other than the forest's T
        means that trees are missing. -1 where the artifact gives no leaf for the row.
        """
        ...

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        """The forest as it is read back from the file, and as it must be: every node's test, children, directions,
        and what leaves and base scores add, in the artifact's own types; None where the file is the framework's own.

        Rows are a sample where a forest is large, and answers don't tell a value that is off by less than sums
        round. This is all of it, to the bit: float64 [anything], the same shape where nothing is missing.
        """
        ...

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        """What :meth:`leaves` must give: from rows of the lowered forest's node table and from the framework's own
        numbers, both int32 [N, T]."""
        ...


@runtime_checkable
class ForBatches(Protocol):
    """A backend of forests whose artifact is tuned when it is built."""

    def tuned_for(self, batches: tuple[int, ...]) -> Backend:
        """The same, tuned for batches of these sizes in rows."""
        ...


@dataclass(frozen=True, eq=False)
class NetOrder:
    """What a backend of nets is to build: into ``folder``, which exists and is empty. ``calibration``: a folder with
    rows that no verdict is based on, or None where the user gave none. ``for_gpu``: int8 is to be TensorRT's kind
    (symmetric), and the graph plain; else both are what ONNX Runtime's CPU kernels are fastest at. ``batches``: the
    traffic's, which an engine is tuned for."""

    net: Net
    source: Source
    folder: Path
    release: Release
    calibration: Path | None = None
    for_gpu: bool = False
    batches: tuple[int, ...] = (1,)


class NetBackend(Kind, Protocol):
    """One kind of candidate of a net, in one precision. The rest is as :class:`Backend` has it; there are no leaves to
    look at, so the outputs alone are judged."""

    def build(self, order: NetOrder) -> Artifact | Unsupported:
        """Write the candidate's files into the order's folder."""
        ...
