"""The steps of lowering that run in a worker: ``load``, ``lower``, ``build``. Files go to the working folder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from .. import triton_releases
from ..passes import base, program, table
from ..passes.base import Pass
from ..values import PassNote, Value
from . import backends
from .backends.base import Built, Source, Unsupported
from .frontends.decision import decided
from .frontends.loaded import Signature
from .frontends.read import read

PROGRAM_FILE, LOWERED_FILE, LEAF_MAP_FILE = "program.npz", "lowered.npz", "leaf_map.npy"


class LoadRequest(Value):
    """``data``, ``label``: rows that may know the values of the model's categories, and their label's column.
    ``decided``: the answer is a label, not probabilities."""

    path: str
    margin: bool = False
    data: str = ""
    label: str | None = None
    decided: bool = False


class Loaded(Value):
    """Beside it: ``program.npz``, and the framework's own file under ``signature.oracle.native_file``."""

    signature: Signature
    trees: int
    nodes: int
    depth: int


def load(request: LoadRequest) -> Loaded:
    """A file -> signature, program, native bytes."""
    folder = Path.cwd()
    rows = Path(request.data) if request.data else None
    model = read(Path(request.path), folder, margin=request.margin, data=rows, label=request.label)
    if request.decided:
        model = decided(model)
    program.save(model.program, folder / PROGRAM_FILE)
    (folder / model.signature.oracle.native_file).write_bytes(model.native)
    forest = model.program.forest
    # The folder that the file lay in is nobody's business later, and a run may go on on another machine.
    provenance = msgspec.structs.replace(model.signature.provenance, path=Path(request.path).name)
    signature = msgspec.structs.replace(model.signature, provenance=provenance)
    return Loaded(signature=signature, trees=forest.n_trees, nodes=forest.n_nodes, depth=forest.depth())


class LowerRequest(Value):
    """``passes``: a spec as :func:`millwork.passes.table.spec` prints it; empty for the usual lowering."""

    program: str
    passes: str = ""


class Lowered(Value):
    """Beside it: ``lowered.npz`` and ``leaf_map.npy`` (int32 [M], see :class:`millwork.passes.base.Rewrite`)."""

    notes: tuple[PassNote, ...]
    trees: int
    nodes: int


def lower(request: LowerRequest) -> Lowered:
    """A program -> the program that backends take, and where each old leaf is in it."""
    folder = Path.cwd()
    passes: tuple[Pass, ...] = table.parse(request.passes) if request.passes else table.LOWERING
    result = base.run(passes, program.load(Path(request.program)))
    program.save(result.program, folder / LOWERED_FILE)
    np.save(folder / LEAF_MAP_FILE, result.leaf_map)
    return Lowered(notes=result.notes, trees=result.program.forest.n_trees, nodes=result.program.forest.n_nodes)


class BuildRequest(Value):
    backend: str
    lowered: str
    native: str
    signature: Signature
    release: str


class BuildReply(Value):
    """``built`` with its files in the working folder, or ``unsupported``: why there are none."""

    built: Built | None = None
    unsupported: str = ""


def build(request: BuildRequest) -> BuildReply:
    """A lowered program -> one backend's files."""
    backend = backends.find(request.backend)
    result = backend.build(
        program.load(Path(request.lowered)),
        Source(native=request.native, signature=request.signature),
        Path.cwd(),
        triton_releases.find(request.release),
    )
    if isinstance(result, Unsupported):
        return BuildReply(unsupported=result.reason)
    return BuildReply(built=result)
