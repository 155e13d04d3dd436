"""A .pt2 -> signature, net and the framework's own file."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import onnx
import torch

from ....errors import ModelError
from ....passes.net import RAW, Net
from ....passes.net import Interface as NetInterface
from ....passes.program import Postprocess
from ....values import FeatureContract, OutputContract, OutputKind, Provenance, Value
from ..load_options import AS_SAVED, LoadOptions
from ..loaded_model import LoadedModel, Oracle, Signature
from . import archive, interface, probing, run_net, to_onnx
from .interface import Interface
from .model_card import Card, NetTask, task_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram

NATIVE = "net.pt2"
_TRAINS = (("aten.dropout", 2), ("aten.feature_dropout", 2), ("aten.batch_norm", 5), ("aten.instance_norm", 5))
"""Operators that are told whether they train, and the place of that argument."""
_STATISTICS = {"aten.batch_norm": 3, "aten.instance_norm": 3}
"""Where norms have their running mean: one that has none takes what is before it, trained or not."""


def load(content: bytes, where: Provenance, options: LoadOptions = AS_SAVED) -> LoadedModel:
    """ModelError for what isn't a net of a table's rows. What the user says of its task goes before what it says."""
    return of_archive(archive.read(content), where, options)


def opened(content: bytes) -> ExportedProgram:
    """An archive of plain tensors as torch's own program. ModelError where torch can't read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content))
    except Exception as error:
        raise ModelError(
            f"torch {torch.__version__} can't read the exported program: {run_net.words(error)}",
            "Save it again by torch.export.save, with this torch or an older one.",
        ) from error


def of_archive(
    saved: archive.Archive, where: Provenance, options: LoadOptions, notes: tuple[str, ...] = ()
) -> LoadedModel:
    """The same of an archive that has been read. ``notes``: what is known of it already."""
    program = opened(saved.content)
    _require_evaluation(program)
    _require_numbers(program)
    card = msgspec.structs.replace(saved.card, task=task_of(options.task) if options.task else saved.card.task)
    found, graph = _examined(program, card, margin=options.margin)
    signature = Signature(
        provenance=msgspec.structs.replace(where, framework="torch", framework_version=saved.version),
        output=_output(card, found, margin=options.margin),
        features=_features(card, found),
        objective=f"net ({card.task or 'regression'})",
        oracle=Oracle(framework="torch", version="", native_file=NATIVE, parameters=_parameters(found)),
        notes=(*notes, *_told(card, found)),
    )
    face = NetInterface(
        features=found.face.features,
        codes=found.face.codes,
        outputs=found.face.outputs,
        answer=found.answer,
        code_counts=found.counts,
        finite=found.finite,
    )
    return LoadedModel(signature=signature, program=Net(graph, face), native=saved.content)


class _Findings(Value):
    """What is found out of a net by asking it. ``counts``: how many codes each column of codes has. ``independent``: no
    row affects another's answer. ``finite``: it fails on NaN or infinities. ``own``: the activation that it ends in
    itself, if any; ``answer``: what is made of its raw outputs; ``bounded``: without an activation of its own, all
    outputs that were seen lie between 0 and 1."""

    face: Interface
    counts: tuple[int, ...]
    independent: bool
    finite: bool
    own: str
    answer: Postprocess
    bounded: bool


def _examined(program: ExportedProgram, card: Card, *, margin: bool) -> tuple[_Findings, onnx.ModelProto]:
    """The findings, and the net as an ONNX graph."""
    face = interface.of(program)
    run = program.module()
    counts = _counts(card, face, run)
    independent = _asked(lambda: probing.independent(run, face, counts))
    finite = not probing.takes_odd_numbers(run, face, counts)
    graph = to_onnx.convert(program, face, probing.rows(face, counts))
    answer, own = _answer(card.task or "regression", face, graph, margin=margin)
    return _Findings(
        face=face,
        counts=counts,
        independent=independent,
        finite=finite,
        own=own,
        answer=answer,
        bounded=not own and _asked(lambda: probing.within_one(run, face, counts)),
    ), graph


def _parameters(found: _Findings) -> dict[str, str]:
    """The oracle's runner's."""
    return {
        "answer": found.answer,
        "inputs": ",".join(found.face.inputs),
        "counts": ",".join(map(str, found.counts)),
        "outputs": str(found.face.outputs),
        **({"finite": "yes"} if found.finite else {}),
    }


def _require_evaluation(program: ExportedProgram) -> None:
    training = any(
        name in str(node.target)
        and len(node.args) > place
        and node.args[place] is True
        and (name not in _STATISTICS or node.args[_STATISTICS[name]] is not None)
        for node in program.graph.nodes
        if node.op == "call_function"
        for name, place in _TRAINS
    )
    if program.graph_signature.buffers_to_mutate or training:
        raise ModelError(
            "the net was exported in training: it changes as it is asked, or drops values at random",
            "Export it after module.eval(), or by millwork.save_net.",
        )


def _require_numbers(program: ExportedProgram) -> None:
    for name, parameter in program.named_parameters():
        missing = int(parameter.isnan().sum())
        if missing:
            raise ModelError(
                f"{missing:,} of {parameter.numel():,} weights of {name[:200]!r} are NaN",
                "The training may have diverged: save a checkpoint from before.",
            )


def _counts(card: Card, face: Interface, run: run_net.Run) -> tuple[int, ...]:
    if not card.code_counts:
        found: tuple[int, ...] = _asked(lambda: probing.code_counts(run, face))
        return found
    if len(card.code_counts) != face.codes or min(card.code_counts) < 1:
        raise ModelError(f"code_counts are {list(card.code_counts)} for {face.codes} columns of codes")
    return card.code_counts


def _asked(question: Any) -> Any:
    try:
        return question()
    except Exception as error:
        raise ModelError(
            f"the net fails on rows: {run_net.words(error)}",
            "It must take any number of rows, one too, and codes from 0 to below their counts.",
        ) from error


def _answer(task: NetTask, face: Interface, graph: onnx.ModelProto, *, margin: bool) -> tuple[Postprocess, str]:
    """What is made of the net's raw outputs, and the activation that it ends in itself, if any."""
    own = _ends_in(graph)
    if task == "binary" and face.outputs > 2:
        raise ModelError(f"a binary net of {face.outputs} outputs", "Expected 1 or 2; --task multiclass?")
    if task == "multiclass" and face.outputs < 2:
        raise ModelError("a multiclass net of one output", "--task binary?")
    if task == "regression":
        return "identity", own
    _require_fitting(task, face, own)
    if own and margin:
        raise ModelError(f"--output margin: the net ends in a {own} of its own, and gives no margins")
    if margin:
        return "identity", own
    if task == "multilabel":
        return ("identity" if own == "Sigmoid" else "sigmoid"), own
    if task == "binary" and face.outputs == 1:
        return ("binary-raw" if own == "Sigmoid" else "binary"), own
    return ("identity" if own == "Softmax" else "softmax"), own


def _require_fitting(task: NetTask, face: Interface, own: str) -> None:
    """ModelError where the net's own activation is of another task: a second one over it would serve nonsense."""
    one_of_all = task == "multiclass" or (task == "binary" and face.outputs == 2)
    if one_of_all and own == "Sigmoid":
        raise ModelError(
            f"a {task} net of {face.outputs} outputs that ends in a Sigmoid: each is a probability by itself, and "
            "together they are none of one class or another",
            "--task multilabel serves them as they are; for one class of all, export the net without the Sigmoid.",
        )
    if not one_of_all and own == "Softmax":
        raise ModelError(
            f"a {task} net of {face.outputs} outputs that ends in a Softmax: they add up to 1, and say nothing of each "
            "by itself",
            "Name another --task (multiclass; binary for two outputs), or export the net without the Softmax.",
        )


def _ends_in(graph: onnx.ModelProto) -> str:
    makes = {name: node for node in graph.graph.node for name in node.output}
    last = makes[RAW]
    while last.op_type in ("Unsqueeze", "Squeeze", "Reshape") and last.input[0] in makes:
        last = makes[last.input[0]]
    by_rows = any(attribute.name == "axis" and attribute.i == 0 for attribute in last.attribute)
    return last.op_type if last.op_type in ("Sigmoid", "Softmax") and not by_rows else ""


def _output(card: Card, found: _Findings, *, margin: bool) -> OutputContract:
    task = card.task or "regression"
    kind: OutputKind = "value" if task == "regression" else "margin" if margin else "probability"
    count = 2 if found.answer in ("binary", "binary-raw") else found.face.outputs
    if card.labels and len(card.labels) != count and kind != "margin":
        raise ModelError(f"{len(card.labels)} labels for {count} outputs: {list(card.labels[:8])}")
    labels = card.labels if len(card.labels) == count else tuple(str(i) for i in range(count))
    if not card.labels and count == 1:
        labels = ("margin",) if kind == "margin" else ("value",)
    return OutputContract(
        kind=kind,
        task=task,
        labels=labels,
        independent_rows=found.independent,
        threshold=(0.5 if card.threshold is None else card.threshold)
        if task == "binary" and kind == "probability"
        else None,
    )


def _features(card: Card, found: _Findings) -> FeatureContract:
    face = found.face
    for what, names, count in (("names", card.names, face.features), ("code_names", card.code_names, face.codes)):
        if names and (len(names) != count or len(set(names)) != count):
            raise ModelError(f"{len(names)} {what} for {count} columns, or two alike: {list(names[:8])}")
    named = bool(card.names or not face.features) and bool(card.code_names or not face.codes)
    names = card.names or tuple(f"f{i}" for i in range(face.features))
    code_names = card.code_names or tuple(f"c{i}" for i in range(face.codes))
    if set(names) & set(code_names):
        raise ModelError(f"a number and a code are both called {min(set(names) & set(code_names))!r}")
    return FeatureContract(
        names=names,
        named=named,
        dtypes=("float32",) * len(names),
        category_names=code_names,
        category_dtype="int64" if code_names else "",
        order=(*names, *code_names) if code_names else (),
        code_counts=found.counts,
        finite=found.finite,
    )


def _told(card: Card, found: _Findings) -> tuple[str, ...]:
    own, extra = found.own, found.face.extra
    notes = []
    if not card.task:
        ending = f"the net ends in a {own}, and " if own else ""
        notes.append(f"{ending}nothing says what the outputs are: taken for values as they are (--task says otherwise)")
    elif own and card.task != "regression":
        notes.append(f"the net ends in a {own}: its outputs are taken for probabilities")
    elif found.bounded and card.task != "regression":
        notes.append(
            "all outputs of the net that were seen lie between 0 and 1, and are taken for margins all the same: if "
            "they are probabilities already, --task regression serves them as they are"
        )
    if extra:
        notes.append(f"the net has {extra} further output(s), which aren't served")
    if found.finite:
        notes.append("the net fails on NaN or infinities: a row that holds one is answered NaN")
    if not found.independent:
        notes.append(
            "rows affect each other's answers in this net: a request is answered by itself, never batched with others"
        )
    return tuple(notes)
