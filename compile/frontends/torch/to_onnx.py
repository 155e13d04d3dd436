"""An exported program -> a typed ONNX graph of the contract's tensors, whose batch really varies.

torch's exporter can fix the batch without a word where the program doesn't (facts of torch 2.13: FT-Transformer
exported by strict=False; TabM needs its decompositions run first). So each way is tried and looked at: the batch must
be symbolic in the graph's output, nothing may loop, and where ONNX Runtime is installed the graph has to answer batches
of 1, 2, an odd number and a large one as the program does.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from ....errors import ModelError
from ....passes.net import CODES, NUMBERS, RAW
from . import exact_graph, operators, written_out
from .export import BATCHES
from .interface import Interface
from .run_net import batch, first, words

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_UNKNOWN = re.compile(r"No ONNX function found for <OpOverload\(op='(\w+)[.:]+(\w+)'")
OPSET, IR = 20, 9
"""Read by every ONNX Runtime of the table of releases."""
EQUAL = 1e-3
"""Of the answers' own size, on random rows: whether the graph is the program at all. The gate compares them closely."""
OWN = "net/"
"""How the names of the net's own nodes and tensors begin: none of what is put around it does."""
LOOPS = frozenset({"Loop", "Scan", "If", "SequenceAt", "SequenceConstruct", "SplitToSequence", "ConcatFromSequence"})
WHY = "Rewrite the part that plain tensor operators can't express, or export the net by millwork.save_net."


def convert(program: ExportedProgram, interface: Interface, rows: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    """``rows``: one random batch, in the order of the program's inputs. ModelError where no way gives a graph."""
    reasons = []
    for decomposed in (False, True):
        try:
            graph = _named(_exported(program, decomposed=decomposed), interface)
            _require_plain(graph)
            _require_same(graph, program, interface, rows)
        except Exception as error:
            lacking = _without_translation(error)
            if lacking:
                raise ModelError(
                    f"the net uses {lacking}, which has no counterpart in ONNX",
                    "Write it in other operators, or leave it out of what is served.",
                ) from error
            reasons.append(f"{'decomposed' if decomposed else 'as it is'}: {words(error)}")
            continue
        return graph
    raise ModelError("the net can't be converted to an ONNX graph:\n  " + "\n  ".join(reasons), WHY)


def _without_translation(error: BaseException | None) -> str:
    """The operator that the exporter knows no ONNX for, ``torch.i0``; empty where that isn't what went wrong."""
    while error is not None:
        found = _UNKNOWN.search(str(error))
        if found:
            return f"torch's {found[2]}" if found[1] in ("aten", "prims") else f"the operator {found[1]}::{found[2]}"
        error = error.__cause__ or error.__context__
    return ""


def _exported(program: ExportedProgram, *, decomposed: bool) -> onnx.ModelProto:
    """Quietly: what the exporter has to say goes to pages."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            ready = written_out.applied(program, decomposed=decomposed)
            made = torch.onnx.export(
                ready,
                dynamo=True,
                opset_version=OPSET,
                verbose=False,
                optimize=False,
                custom_translation_table=operators.table(ready),
            )
            if made is None:
                raise ModelError("torch.onnx.export gave nothing")
            folded = exact_graph.exact(made.model)
            model = made.model_proto
    finally:
        logging.disable(level)
    exact_graph.require_constants(ready, model, folded)
    return model


def _named(model: onnx.ModelProto, interface: Interface) -> onnx.ModelProto:
    """The contract's names, [N, K0] as the output, and no shapes beside those of inputs and outputs: stale ones mislead
    passes that come later."""
    graph = model.graph
    if len(graph.input) != len(interface.inputs):
        raise ModelError(f"the graph takes {len(graph.input)} tensors, but the net takes {len(interface.inputs)}")
    names = {
        own.name: NUMBERS if role == "numbers" else CODES
        for own, role in zip(graph.input, interface.inputs, strict=True)
    }
    last = graph.output[0].name
    _require_symbolic(graph.output[0])
    if last in names:
        raise ModelError("the net returns its own input")
    del graph.output[1:]
    names |= {"": "", last: f"{OWN}flat" if interface.flat else RAW}
    for node in graph.node:
        node.name = f"{OWN}{node.name}"
        node.input[:] = [names.get(name, f"{OWN}{name}") for name in node.input]
        node.output[:] = [names.get(name, f"{OWN}{name}") for name in node.output]
    for constant in graph.initializer:
        constant.name = f"{OWN}{constant.name}"
    if interface.flat:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), f"{OWN}axis"))
        graph.node.append(onnx.helper.make_node("Unsqueeze", [names[last], f"{OWN}axis"], [RAW], f"{OWN}unsqueeze"))
    kinds = {NUMBERS: (onnx.TensorProto.FLOAT, interface.features), CODES: (onnx.TensorProto.INT64, interface.codes)}
    made = [onnx.helper.make_tensor_value_info(names[own.name], *_kind(kinds[names[own.name]])) for own in graph.input]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(made)
    graph.output.append(onnx.helper.make_tensor_value_info(RAW, onnx.TensorProto.FLOAT, ["N", interface.outputs]))
    _strip(graph)
    model.ir_version = min(model.ir_version, IR)
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    for constant in graph.initializer:
        del constant.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _strip(graph: onnx.GraphProto) -> None:
    """Without what only further outputs took. (A node with a graph of its own, which may take anything, is refused.)"""
    taken = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return
        if taken.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            taken.update(node.input)


def _kind(kind: tuple[int, int]) -> tuple[int, list[Any]]:
    return kind[0], ["N", kind[1]]


def _require_symbolic(output: onnx.ValueInfoProto) -> None:
    first = output.type.tensor_type.shape.dim[0]
    if first.HasField("dim_value"):
        raise ModelError(f"the exporter fixed the batch to {first.dim_value}")


def _require_plain(model: onnx.ModelProto) -> None:
    looping = sorted({node.op_type for node in model.graph.node} & LOOPS)
    if looping:
        raise ModelError(f"the graph has {', '.join(looping)}")
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
    if foreign or model.functions:
        raise ModelError(f"the graph has operators of {', '.join(foreign) or 'its own functions'}")


def session(model: onnx.ModelProto) -> Any:
    """ONNX Runtime's of a graph; None where it isn't installed."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _require_same(
    model: onnx.ModelProto, program: ExportedProgram, interface: Interface, rows: tuple[torch.Tensor, ...]
) -> None:
    engine = session(model)
    if engine is None:
        return  # the gate asks whatever engine is there
    run = program.module()
    for size in BATCHES:
        asked = batch(rows, size)
        with torch.no_grad():
            expected = first(run(*asked)).reshape(size, -1).numpy()
        feeds = {
            NUMBERS if role == "numbers" else CODES: tensor.numpy()
            for role, tensor in zip(interface.inputs, asked, strict=True)
        }
        given = {own.name: feeds[own.name] for own in engine.get_inputs()}
        got = engine.run([RAW], given)[0]
        size_of = max(float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)), 1e-6)
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=0, atol=EQUAL * size_of, equal_nan=True):
            apart = (
                f"has shape {list(got.shape)}, not {list(expected.shape)}"
                if got.shape != expected.shape
                else f"differs from the program's by {np.nanmax(np.abs(got - expected)):.3g}"
            )
            raise ModelError(f"for a batch of {size} the graph's answer {apart}")
