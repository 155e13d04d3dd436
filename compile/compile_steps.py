"""The steps of lowering that run in a worker: ``load``, ``lower``, ``build``. Files go to the working folder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from .. import triton_releases
from ..passes import base, net, pass_table, program
from ..passes.net import Net
from ..passes.trees.tree_pass import leaf_map
from ..values import PassNote, Value
from ..values.base import FilePath
from .backends import table as backends
from .backends.base import Artifact, ForBatches, NetOrder, Source, Unsupported
from .backends.hummingbird import conversion, feed
from .frontends.decision import decided
from .frontends.load_options import LoadOptions
from .frontends.loaded_model import Signature
from .frontends.read import read

PROGRAM_FILE, LOWERED_FILE, LEAF_MAP_FILE = "program.npz", "lowered.npz", "leaf_map.npy"
NET_FILE, LOWERED_NET_FILE = "net.onnx", "lowered.onnx"


def program_file(signature: Signature) -> str:
    """What :func:`load` writes the program to."""
    return NET_FILE if signature.is_net else PROGRAM_FILE


def lowered_file(signature: Signature) -> str:
    """What :func:`lower` writes the lowered program to."""
    return LOWERED_NET_FILE if signature.is_net else LOWERED_FILE


def lowered_files(signature: Signature) -> tuple[str, ...]:
    """All that :func:`lower` writes."""
    return (lowered_file(signature),) if signature.is_net else (LOWERED_FILE, LEAF_MAP_FILE)


class LoadRequest(Value):
    """``data``, ``label``: rows that may know the values of the model's categories, and their label's column.
    ``decided``: the answer is a label, not probabilities. ``task``, ``module``: of a net, what its outputs are margins
    of, and the factory (``package.module:function``) whose module a state dict belongs to;
    ``module_path``: the folder that it is imported from."""

    path: FilePath
    margin: bool = False
    data: FilePath = ""
    label: str | None = None
    decided: bool = False
    task: str = ""
    module: str = ""
    module_path: FilePath = ""


class Loaded(Value):
    """Beside it: ``program.npz`` (of a net ``net.onnx``), and the framework's own file under
    ``signature.oracle.native_file``. ``nodes``: of the trees, or a net's operators; ``parameters``: a net's numbers."""

    signature: Signature
    trees: int
    nodes: int
    depth: int
    parameters: int = 0


def load(request: LoadRequest) -> Loaded:
    """A file -> signature, program, native bytes."""
    folder = Path.cwd()
    options = LoadOptions(
        margin=request.margin,
        data=Path(request.data) if request.data else None,
        label=request.label,
        task=request.task,
        module=request.module,
        module_path=request.module_path,
    )
    model = read(Path(request.path), folder, options)
    if request.decided:
        model = decided(model)
    (folder / model.signature.oracle.native_file).write_bytes(model.native)
    # The folder that the file lay in is nobody's business later, and a run may go on on another machine.
    provenance = msgspec.structs.replace(model.signature.provenance, path=Path(request.path).name)
    signature = msgspec.structs.replace(model.signature, provenance=provenance)
    own = model.program
    if isinstance(own, Net):
        net.save(own, folder / NET_FILE)
        return Loaded(signature=signature, trees=0, nodes=len(own.graph.graph.node), depth=0, parameters=own.parameters)
    program.save(own, folder / PROGRAM_FILE)
    forest = own.forest
    return Loaded(signature=signature, trees=forest.n_trees, nodes=forest.n_nodes, depth=forest.depth())


class LowerRequest(Value):
    """``passes``: a spec as :func:`millwork.passes.pass_table.spec` prints it; empty for the usual lowering."""

    program: FilePath
    passes: str = ""


class Lowered(Value):
    """Beside it: ``lowered.npz`` and ``leaf_map.npy`` (int32 [M], see
    :class:`millwork.passes.trees.tree_pass.TreeRewrite`); of a net
    ``lowered.onnx``."""

    notes: tuple[PassNote, ...]
    trees: int
    nodes: int


def lower(request: LowerRequest) -> Lowered:
    """A program -> the program that backends take, and where each old leaf is in it. A net -> its graph, tidied."""
    folder = Path.cwd()
    if Path(request.program).name == NET_FILE:
        return _lower_net(net.load(Path(request.program)), request.passes, folder)
    before = program.load(Path(request.program))
    result = base.run(pass_table.parse(request.passes) if request.passes else pass_table.LOWERING, before)
    program.save(result.program, folder / LOWERED_FILE)
    np.save(folder / LEAF_MAP_FILE, leaf_map(before, result.rewrites))
    return Lowered(notes=result.notes, trees=result.program.forest.n_trees, nodes=result.program.forest.n_nodes)


def _lower_net(found: Net, passes: str, folder: Path) -> Lowered:
    result = base.run(pass_table.parse_graph(passes) if passes else pass_table.NET_LOWERING, found.graph)
    net.save(Net(result.program, found.interface), folder / LOWERED_NET_FILE)
    return Lowered(notes=result.notes, trees=0, nodes=len(result.program.graph.node))


class BuildRequest(Value):
    """``calibration``: a folder of rows that nothing is judged by, for a precision that needs to see some; or empty.
    ``for_gpu``, ``batches``: see :class:`.backends.base.NetOrder`; ``converted``: :class:`.backends.base.Source`."""

    backend: str
    lowered: FilePath
    native: FilePath
    signature: Signature
    release: str
    precision: str = "fp32"
    calibration: FilePath = ""
    for_gpu: bool = False
    batches: tuple[int, ...] = (1,)
    converted: FilePath = ""


class BuildReply(Value):
    """``artifact`` with its files in the working folder, or ``unsupported``: why there are none."""

    artifact: Artifact | None = None
    unsupported: str = ""


def build(request: BuildRequest) -> BuildReply:
    """A lowered program, or net -> one backend's files."""
    source = Source(native=request.native, signature=request.signature, converted=request.converted)
    release = triton_releases.find(request.release)
    if request.signature.is_net:
        result = _build_net(request, source, release)
    else:
        result = _build_trees(request, source, release)
    if isinstance(result, Unsupported):
        return BuildReply(unsupported=result.reason)
    if result.triton_backend == "onnxruntime" and not request.signature.is_net and _holds_nul(request):
        result = msgspec.structs.replace(result, triton_backend="python")
    return BuildReply(artifact=result)


def _holds_nul(request: BuildRequest) -> bool:
    """Whether a category holds a NUL: Triton's onnxruntime backend ends a text there (it fills string tensors with
    FillStringTensor)."""
    categories = program.load(Path(request.lowered)).categories
    vocabularies = () if categories is None or categories.integer else categories.vocabularies
    return any("\0" in str(word) for words in vocabularies for word in words)


class FeedRequest(Value):
    """``lowered``: the program whose trees a tool of an environment of its own is to convert."""

    lowered: FilePath


class Fed(Value):
    """Beside it: ``feed.npz``, as :mod:`.backends.hummingbird.feed` says; or ``unsupported``: why there is none."""

    unsupported: str = ""


def feed_hummingbird(request: FeedRequest) -> Fed:
    """A lowered program -> what Hummingbird is fed."""
    made = feed.feed(program.load(Path(request.lowered)))
    if isinstance(made, str):
        return Fed(unsupported=f"{conversion.TOOLCHAIN}: {made}")
    feed.save(made, Path.cwd() / conversion.FEED_FILE)
    return Fed()


def _build_trees(request: BuildRequest, source: Source, release: triton_releases.Release) -> Artifact | Unsupported:
    if backends.row(request.backend).trees is None:
        return Unsupported(reason=f"{request.backend}: has no form for a forest")
    backend = backends.find(request.backend, request.precision)
    if backend.precision != request.precision:
        return Unsupported(reason=f"{request.backend}: has no form in {request.precision}")
    if isinstance(backend, ForBatches):
        backend = backend.tuned_for(request.batches)
    return backend.build(program.load(Path(request.lowered)), source, Path.cwd(), release)


def _build_net(request: BuildRequest, source: Source, release: triton_releases.Release) -> Artifact | Unsupported:
    backend = backends.find_net(request.backend, request.precision)
    if backend is None:
        return Unsupported(reason=f"{request.backend}: has no form for a net in {request.precision}")
    rows = Path(request.calibration) if request.calibration else None
    order = NetOrder(
        net=net.load(Path(request.lowered)),
        source=source,
        folder=Path.cwd(),
        release=release,
        calibration=rows,
        for_gpu=request.for_gpu,
        batches=request.batches,
    )
    return backend.build(order)
