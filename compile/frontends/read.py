"""A model's file, of whatever format, to a LoadedModel. Runs in a worker: a .cbm goes through CatBoost's own parser."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from ...errors import ModelError, TargetError
from ...storage.opening import ANY_SIZE, read_limited
from ...values import Framework, Provenance
from . import ubjson
from .catboost import binary
from .catboost import model as catboost
from .catboost.binary import Binary
from .load_options import AS_SAVED, LoadOptions
from .loaded_model import LoadedModel, NativeFile
from .model_file import read_whole
from .pickles import read_pickled
from .pickles.estimators import Attributes, PickledModel
from .sniff import Format, sniff
from .xgboost import model as xgboost
from .xgboost.learner import Estimator


def read(path: Path, scratch: Path, options: LoadOptions = AS_SAVED) -> LoadedModel:
    """Load ``path``. ``scratch`` is a folder for files that a framework's exporter needs.

    Raises ModelError (unreadable, or refused by name), TargetError (a framework is needed and isn't installed).
    """
    kind = sniff(path)
    content = read_whole(path)
    try:
        return _of_kind(kind, content, path, scratch, options)
    except ModelError as error:
        if error.message.startswith(f"{path}:"):
            raise
        raise ModelError(f"{path}: {error.message}", error.hint) from error


def _of_kind(kind: Format, content: bytes, path: Path, scratch: Path, options: LoadOptions) -> LoadedModel:
    where = Provenance(
        path=str(path),
        format=kind,
        sha256=hashlib.sha256(content).hexdigest(),
        framework=_framework(kind),
        framework_version="",
    )
    match kind:
        case "xgboost-json":
            return _xgboost(_json(content, path), NativeFile("model.json", content), where, options)
        case "xgboost-ubj":
            return _xgboost(ubjson.parse(content, str(path)), NativeFile("model.ubj", content), where, options)
        case "catboost-json":
            export = _json(content, path, CatBoostExport)
            return catboost.load(export, NativeFile("model.json", content), where, options)
        case "catboost-cbm":
            return _cbm(content, where, scratch, options)
        case "torch-pt2" | "torch-weights":
            return _net(kind, content, where, options)
        case "pickle":
            return _pickled(read_pickled(content, str(path)), where, scratch, options)


def _framework(kind: Format) -> Framework:
    if kind.startswith("torch"):
        return "torch"
    return "catboost" if kind.startswith("catboost") else "xgboost"


def _net(kind: Format, content: bytes, where: Provenance, options: LoadOptions) -> LoadedModel:
    try:
        from .torch import net, weights
        from .torch.model_card import task_of
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} isn't installed, and reading a net needs it", "pip install 'millwork[torch]'"
        ) from error
    if options.task:
        task_of(options.task)  # a wrong word is refused before the file is opened
    if kind == "torch-weights":
        return weights.load(content, where, options)
    if options.module:
        raise ModelError(
            f"{where.path}: this is a whole exported net, and --module is for a state dict only", "Leave --module out."
        )
    return net.load(content, where, options)


def _xgboost(document: object, native: NativeFile, where: Provenance, options: LoadOptions) -> LoadedModel:
    """A saved model, or a pickled handle {Config, Model} that someone has written to a file."""
    if isinstance(document, dict) and "Model" in document:
        if native.name == "model.json":
            raise ModelError(
                f"{where.path}: this is a Booster's pickled state, not a saved model", "Use Booster.save_model."
            )
        document, native = document["Model"], _member(native.content, where)
    return xgboost.load(document, native, where, options)


def _member(handle: bytes, where: Provenance) -> NativeFile:
    """The saved model in a Booster's pickled handle {Config, Model}."""
    return NativeFile("model.ubj", ubjson.member(handle, "Model", where.path))


def _pickled(pickled: PickledModel, where: Provenance, scratch: Path, options: LoadOptions) -> LoadedModel:
    attributes = pickled.attributes
    where = msgspec.structs.replace(where, framework=pickled.framework, estimator=pickled.estimator)
    if pickled.framework == "catboost":
        return _cbm(pickled.payload, where, scratch, options)
    if pickled.payload_format == "json":
        document = _json(pickled.payload, Path(where.path))
        model = document["Model"] if isinstance(document, dict) and "Model" in document else document
        native = NativeFile("model.json", json.dumps(model).encode())
    else:
        native = _member(pickled.payload, where)
        model = ubjson.parse(native.content, where.path)
    loaded = xgboost.load(model, native, where, options, _estimator(pickled.estimator, attributes))
    classes = len(loaded.signature.output.labels)
    if attributes.n_classes and loaded.signature.output.task == "multiclass" and attributes.n_classes != classes:
        raise ModelError(f"{where.path}: the wrapper has {attributes.n_classes} classes, but its booster has {classes}")
    return loaded


def _estimator(name: str, attributes: Attributes) -> Estimator:
    wrapped = name != "Booster"
    return Estimator(
        name=name,
        wrapped=wrapped,
        missing=attributes.missing,
        labels=tuple(str(label) for label in attributes.classes or ()),
        # Before xgboost 2.0 the wrapper keeps it itself; where nothing stopped early it is the last round.
        best_iteration=attributes.best_iteration if wrapped else None,
        custom_objective=(attributes.objective or "a function") if attributes.custom_objective else "",
    )


def _cbm(content: bytes, where: Provenance, scratch: Path, options: LoadOptions) -> LoadedModel:
    """CatBoost's binary: exported to JSON by CatBoost itself, in the worker's process."""
    try:
        import catboost as framework
    except ModuleNotFoundError as error:
        raise TargetError(
            "CatBoost isn't installed, and reading a .cbm file needs it", "pip install 'millwork[catboost]'"
        ) from error
    file = binary.read(content)
    if file is not None:
        _refuse_text(file, where.path)
    saved, exported = scratch / "model.cbm", scratch / "exported.json"
    saved.write_bytes(content)
    try:
        model = framework.CatBoost()
        model.load_model(str(saved), format="cbm")
        model.save_model(str(exported), format="json")
    except (framework.CatBoostError, *_DAMAGED) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise ModelError(
            f"{where.path}: CatBoost {framework.__version__} can't read it: {reason}",
            "Save it again with save_model and check that the file was copied whole.",
        ) from error
    document = _json(read_limited(exported, ANY_SIZE), Path(where.path), CatBoostExport)
    exported.unlink()
    order = () if isinstance(document, dict) and "oblivious_trees" in document else _leaf_order(model, where.path)
    return catboost.load(document, NativeFile("model.cbm", content), where, options, order)


_DAMAGED = (AttributeError, LookupError, TypeError, ValueError, OverflowError)
"""What CatBoost's Python side raises, beside its own error, for a file that is damaged."""


def _leaf_order(model: Any, path: str) -> list[list[int]]:
    """A .cbm's own numbers of each tree's leaves, left to right, as CatBoost's ``plot_tree`` finds them.

    A node's step is how far behind it its children stand in the table, left and right; a step of 0 ends in the
    node's own leaf.
    """
    try:
        return [
            _left_to_right(model._get_tree_step_nodes(t), model._get_tree_node_to_leaf(t))  # noqa: SLF001 (no public way)
            for t in range(model.tree_count_)
        ]
    except _DAMAGED as error:
        raise ModelError(f"{path}: its trees are inconsistent: {error}", "Save it again with save_model.") from error


def _left_to_right(steps: Sequence[tuple[int, int]], leaf: Sequence[int]) -> list[int]:
    order: list[int] = []
    stack = [(0, 1)] if steps else []
    while stack:
        node, step = stack.pop()
        if step == 0 or tuple(steps[node]) == (0, 0):
            order.append(int(leaf[node]))
            if len(order) > len(leaf):
                raise ValueError("a leaf is reached twice")
            continue
        left, right = steps[node]
        stack += [(node + right, right), (node + left, left)]
    return order


def _refuse_text(file: Binary, path: str) -> None:
    """Text and embedding features can't be exported to JSON, and CatBoost loads them only outside a sandbox: refuse
    them by name before it is asked."""
    for kind, columns in (("text", file.text), ("embedding", file.embeddings)):
        if columns:
            shown = ", ".join(columns[:5]) + (", …" if len(columns) > 5 else "")
            raise ModelError(
                f"{path}: CatBoost's {kind} features are not supported (columns {shown})",
                "Leave them out in training, or make numbers of them before the model.",
            )


class _SymmetricTree(TypedDict, total=False):
    splits: Any
    leaf_values: list[float]


class CatBoostExport(TypedDict, total=False):
    """What is read of an export, whose leaf weights are half of it."""

    features_info: Any
    model_info: Any
    ctr_data: Any
    scale_and_bias: Any
    trees: Any
    oblivious_trees: list[_SymmetricTree]


def _json(content: bytes, path: Path, kind: Any = Any) -> object:
    """``kind``: what to take of it; where it is of another kind, all of it."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # XGBoost writes NaN and Infinity as bare words, which JSON hasn't; Python's own reader takes them
    except RecursionError as error:
        raise ModelError(f"{path}: nested too deeply to be a model") from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: not complete JSON: {str(error) or type(error).__name__}",
            "The file may have been cut short: copy it again, or save the model again.",
        ) from error
