"""A .pt2 -> signature, net and the framework's own file."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import onnx
import torch

from ....errors import ModelError
from ....passes.net import CODES, NUMBERS, RAW, Net
from ....passes.net import Interface as NetInterface
from ....passes.program import Postprocess
from ....values import FeatureContract, OutputContract, OutputKind, Provenance, Value
from ..load_options import AS_SAVED, LoadOptions
from ..loaded_model import LoadedModel, Oracle, Signature
from . import archive, interface, lookups, odd_rows, probing, repeatable, run_net, to_onnx
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
    found, net = _examined(program, card, margin=options.margin)
    signature = Signature(
        provenance=msgspec.structs.replace(where, framework="torch", framework_version=saved.version),
        output=_output(card, found, margin=options.margin),
        features=_features(card, found),
        objective=f"net ({card.task or 'regression'})",
        oracle=Oracle(framework="torch", version="", native_file=NATIVE, parameters=_parameters(found)),
        notes=(*notes, *_told(card, found)),
    )
    return LoadedModel(signature=signature, program=net, native=saved.content)


class _Findings(Value):
    """What is found out of a net by asking it. ``known``: a row that it answers, and the codes that it knows.
    ``joint``: ranges of codes don't say which rows it answers. ``independent``: no row affects another's answer.
    ``finite``: it fails on NaN or infinities (``fails``), or its graph answers them otherwise. ``own``: the activation
    that it ends in itself, if any; ``answer``: what is made of its raw outputs; ``bounded``: without an activation of
    its own, all outputs that were seen lie between 0 and 1."""

    face: Interface
    known: probing.Known
    joint: bool
    independent: bool
    finite: bool
    fails: bool
    own: str
    answer: Postprocess
    bounded: bool


def _examined(program: ExportedProgram, card: Card, *, margin: bool) -> tuple[_Findings, Net]:
    """The findings, and the net as an ONNX graph."""
    face = interface.of(program)
    run = program.module()
    known = _asked(lambda: probing.known(run, face))
    if card.code_counts and (len(card.code_counts) != face.codes or min(card.code_counts) < 1):
        raise ModelError(
            f"code_counts must have one number of 1 or more for each of the {face.codes} columns of codes; "
            f"it is {list(card.code_counts)}"
        )
    _asked(lambda: repeatable.require_repeatable(run, face, known))
    independent = _asked(lambda: probing.independent(run, face, known))
    rows = probing.rows(run, face, known)
    graph = to_onnx.convert(program, face, rows)
    named = {"numbers": NUMBERS, "codes": CODES}
    guard = lookups.guard(
        graph, program, {named[role]: part.numpy() for role, part in zip(face.inputs, rows, strict=True)}
    )
    exact = None if guard is None else lookups.ranges(guard, face.codes)
    if exact is not None:
        known, guard = msgspec.structs.replace(known, lows=exact[0], counts=exact[1]), None
    elif guard is None:
        known = msgspec.structs.replace(known, lows=(0,) * face.codes, counts=(0,) * face.codes)
    answer, own = _answer(card.task or "regression", face, graph, margin=margin)
    made = NetInterface(
        features=face.features,
        codes=face.codes,
        outputs=face.outputs,
        answer=answer,
        code_counts=known.counts,
        code_lows=known.lows,
        safe_numbers=known.numbers,
        safe_codes=known.codes,
    )
    odd = odd_rows.asked(run, face, known, Net(graph, made, guard))
    found = _Findings(
        face=face,
        known=known,
        joint=guard is not None,
        independent=independent,
        finite=odd.differs,
        fails=odd.fails,
        own=own,
        answer=answer,
        bounded=not own and _asked(lambda: probing.within_one(run, face, known)),
    )
    return found, Net(graph, msgspec.structs.replace(made, finite=odd.differs), guard)


def _parameters(found: _Findings) -> dict[str, str]:
    """The oracle's runner's."""
    return {
        "answer": found.answer,
        "inputs": ",".join(found.face.inputs),
        "outputs": str(found.face.outputs),
        "safe_numbers": ",".join(map(str, found.known.numbers)),
        "safe_codes": ",".join(map(str, found.known.codes)),
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
            "the net was exported in training mode: it updates itself on each call, or drops values at random",
            "Call module.eval() before the export, or export it by millwork.save_net.",
        )


def _require_numbers(program: ExportedProgram) -> None:
    for name, parameter in program.named_parameters():
        missing = int(parameter.isnan().sum())
        if missing:
            raise ModelError(
                f"{missing:,} of {parameter.numel():,} weights of {name[:200]!r} are NaN",
                "The training may have diverged: save a checkpoint from before.",
            )


def _asked(question: Any) -> Any:
    try:
        return question()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the net fails on rows: {run_net.words(error)}",
            "It must accept any number of rows, also one.",
        ) from error


def _answer(task: NetTask, face: Interface, graph: onnx.ModelProto, *, margin: bool) -> tuple[Postprocess, str]:
    """What is made of the net's raw outputs, and the activation that it ends in itself, if any."""
    own = _ends_in(graph)
    if task == "binary" and face.outputs > 2:
        raise ModelError(
            f"a binary net must have 1 or 2 outputs; this one has {face.outputs}", "Should --task be multiclass?"
        )
    if task == "multiclass" and face.outputs < 2:
        raise ModelError("a multiclass net must have 2 outputs or more; this one has 1", "Should --task be binary?")
    if task == "regression":
        return "identity", own
    _require_fitting(task, face, own)
    if own and margin:
        raise ModelError(f"--output margin: the net ends in a {own}, so it gives no margins")
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
            f"a {task} net of {face.outputs} outputs can't end in a Sigmoid: each output is then a probability "
            "by itself, and they don't add up to 1",
            "Give --task multilabel, which serves them as they are. "
            "If a row has one class only, export the net without the Sigmoid.",
        )
    if not one_of_all and own == "Softmax":
        raise ModelError(
            f"a {task} net of {face.outputs} outputs can't end in a Softmax: the outputs then add up to 1, and none is "
            "a probability by itself",
            "Give another --task (multiclass, or binary for two outputs), or export the net without the Softmax.",
        )


def _ends_in(graph: onnx.ModelProto) -> str:
    makes = {name: node for node in graph.graph.node for name in node.output}
    last = makes[RAW]
    while (name := _through(last)) in makes:
        last = makes[name]
    by_rows = any(attribute.name == "axis" and attribute.i == 0 for attribute in last.attribute)
    return last.op_type if last.op_type in ("Sigmoid", "Softmax") and not by_rows else ""


def _through(node: onnx.NodeProto) -> str:
    """What a node passes on as it is; empty where it computes something."""
    return str(node.input[0]) if node.op_type in ("Unsqueeze", "Squeeze", "Reshape") else ""


def _output(card: Card, found: _Findings, *, margin: bool) -> OutputContract:
    task = card.task or "regression"
    kind: OutputKind = "value" if task == "regression" else "margin" if margin else "probability"
    count = 2 if found.answer in ("binary", "binary-raw") else found.face.outputs
    if card.labels and len(card.labels) != count and kind != "margin":
        raise ModelError(f"the net has {count} outputs but {len(card.labels)} labels: {list(card.labels[:8])}")
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
            raise ModelError(
                f"{what} must be {count} distinct names, one for each column; it has {len(names)}: {list(names[:8])}"
            )
    named = bool(card.names or not face.features) and bool(card.code_names or not face.codes)
    names = card.names or tuple(f"f{i}" for i in range(face.features))
    code_names = card.code_names or tuple(f"c{i}" for i in range(face.codes))
    if set(names) & set(code_names):
        raise ModelError(
            f"a column of numbers and a column of codes are both called {min(set(names) & set(code_names))!r}"
        )
    return FeatureContract(
        names=names,
        named=named,
        dtypes=("float32",) * len(names),
        category_names=code_names,
        category_dtype="int64" if code_names else "",
        order=(*names, *code_names) if code_names else (),
        code_counts=found.known.counts,
        code_lows=found.known.lows,
        code_rule=("asked" if found.joint else "range") if code_names else "",
        finite=found.finite,
    )


def _told(card: Card, found: _Findings) -> tuple[str, ...]:
    own, extra = found.own, found.face.extra
    notes = []
    if not card.task:
        ending = f"the net ends in a {own}, and " if own else ""
        notes.append(
            f"{ending}nothing says what the outputs mean: they are served as plain values (to change that, give --task)"
        )
    elif own and card.task != "regression":
        notes.append(f"the net ends in a {own}, so its outputs are probabilities")
    elif found.bounded and card.task != "regression":
        notes.append(
            "all outputs that the net gave lie between 0 and 1, but millwork takes them for margins. If "
            "they are probabilities already, --task regression serves them as they are"
        )
    if extra:
        notes.append(f"the net has {extra} more output(s), which aren't served")
    if found.finite:
        why = (
            "the net fails on NaN and infinities"
            if found.fails
            else "no ONNX graph answers NaN and infinities as torch"
        )
        notes.append(f"{why}, so a row that holds one is answered NaN")
    if found.joint:
        notes.append(
            "what the net looks up depends on several columns together, or on numbers: a row on which torch fails is "
            "answered NaN"
        )
    if not found.independent:
        notes.append(
            "in this net, rows of a batch affect each other's answers, so a request is never batched with others"
        )
    return tuple(notes)
