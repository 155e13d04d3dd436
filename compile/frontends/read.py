"""A model's file, of whatever format, to a LoadedModel. Runs in a worker: a .cbm goes through CatBoost's own parser."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from ...errors import ModelError, TargetError
from ...values import Framework, Provenance
from . import ubjson
from .catboost import model as catboost
from .loaded_model import LoadedModel
from .model_file import read_whole
from .pickles import read_pickled
from .pickles.estimators import PickledModel
from .sniff import Format, sniff
from .xgboost import model as xgboost


def read(
    path: Path,
    scratch: Path,
    *,
    margin: bool = False,
    data: Path | None = None,
    label: str | None = None,
    task: str = "",
    module: tuple[str, str] = ("", ""),
) -> LoadedModel:
    """Load ``path``. ``scratch`` is a folder for files that a framework's exporter needs; ``margin``: raw scores;
    ``data``: rows that may know the values of CatBoost's categories, ``label``: the column of them that is no feature.

    ``task``: of a net, what its outputs are margins of; ``module``: the factory of a state dict's module, and the
    folder that it is imported from, if it isn't installed.
    Raises ModelError (unreadable, or refused by name), TargetError (a framework is needed and isn't installed).
    """
    kind = sniff(path)
    content = read_whole(path)
    try:
        return _of_kind(kind, content, path, _Asked(scratch, margin, data, label, task, module))
    except ModelError as error:
        if error.message.startswith(f"{path}:"):
            raise
        raise ModelError(f"{path}: {error.message}", error.hint) from error


@dataclass(frozen=True)
class _Asked:
    """What :func:`read` was asked for, beside the file."""

    scratch: Path
    margin: bool
    data: Path | None
    label: str | None
    task: str = ""
    module: tuple[str, str] = ("", "")


def _of_kind(kind: Format, content: bytes, path: Path, asked: _Asked) -> LoadedModel:
    where = Provenance(
        path=str(path),
        format=kind,
        sha256=hashlib.sha256(content).hexdigest(),
        framework=_framework(kind),
        framework_version="",
    )
    match kind:
        case "xgboost-json":
            return _xgboost(_json(content, path), content, "model.json", where, margin=asked.margin)
        case "xgboost-ubj":
            return _xgboost(ubjson.parse(content, str(path)), content, "model.ubj", where, margin=asked.margin)
        case "catboost-json":
            return catboost.load(
                _json(content, path, CatBoostExport),
                content,
                "model.json",
                where,
                margin=asked.margin,
                data=asked.data,
                label=asked.label,
            )
        case "catboost-cbm":
            return _cbm(content, where, asked)
        case "torch-pt2" | "torch-weights":
            return _net(kind, content, where, asked)
        case "pickle":
            return _pickled(read_pickled(content, str(path)), where, asked)


def _framework(kind: Format) -> Framework:
    if kind.startswith("torch"):
        return "torch"
    return "catboost" if kind.startswith("catboost") else "xgboost"


def _net(kind: Format, content: bytes, where: Provenance, asked: _Asked) -> LoadedModel:
    try:
        from .torch import net, weights
        from .torch.model_card import task_of
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} isn't installed, and reading a net takes it", "pip install 'millwork[torch]'"
        ) from error
    task = task_of(asked.task) if asked.task else None
    if kind == "torch-pt2":
        if asked.module[0]:
            raise ModelError(
                f"{where.path}: --module is for a state dict, and this is a whole exported net", "Leave it out."
            )
        return net.load(content, where, task=task, margin=asked.margin)
    return weights.load(
        content, where, *asked.module, task=task, margin=asked.margin, data=asked.data, label=asked.label
    )


def _xgboost(document: object, content: bytes, native: str, where: Provenance, *, margin: bool) -> LoadedModel:
    """A saved model, or a pickled handle {Config, Model} that someone has written to a file."""
    if isinstance(document, dict) and "Model" in document:
        if native == "model.json":
            raise ModelError(f"{where.path}: a Booster's pickled state, not a saved model", "Use Booster.save_model.")
        document, content = document["Model"], ubjson.member(content, "Model", where.path)
    return xgboost.load(document, content, native, where, margin=margin)


def _pickled(pickled: PickledModel, where: Provenance, asked: _Asked) -> LoadedModel:
    attributes = pickled.attributes
    where = msgspec.structs.replace(where, framework=pickled.framework, estimator=pickled.estimator)
    if pickled.framework == "catboost":
        return _cbm(pickled.payload, where, asked)
    if pickled.payload_format == "json":
        document = _json(pickled.payload, Path(where.path))
        model = document["Model"] if isinstance(document, dict) and "Model" in document else document
        native, name = json.dumps(model).encode(), "model.json"
    else:
        native, name = ubjson.member(pickled.payload, "Model", where.path), "model.ubj"
        model = ubjson.parse(native, where.path)
    wrapped = pickled.estimator != "Booster"
    loaded = xgboost.load(
        model,
        native,
        name,
        where,
        margin=asked.margin,
        missing=attributes.missing,
        labels=[str(label) for label in attributes.classes or ()],
        wrapped=wrapped,
        # Before xgboost 2.0 the wrapper keeps it itself; where nothing stopped early it is the last round.
        best_iteration=attributes.best_iteration if wrapped else None,
        estimator=pickled.estimator,
        custom_objective=(attributes.objective or "a function") if attributes.custom_objective else "",
    )
    classes = len(loaded.signature.output.labels)
    if attributes.n_classes and loaded.signature.output.task == "multiclass" and attributes.n_classes != classes:
        raise ModelError(f"{where.path}: the wrapper has {attributes.n_classes} classes, and its booster {classes}")
    return loaded


def _cbm(content: bytes, where: Provenance, asked: _Asked) -> LoadedModel:
    """CatBoost's binary: exported to JSON by CatBoost itself, in the worker's process."""
    try:
        import catboost as framework
    except ModuleNotFoundError as error:
        raise TargetError(
            "CatBoost isn't installed, and reading its .cbm takes it", "pip install 'millwork[catboost]'"
        ) from error
    saved, exported = asked.scratch / "model.cbm", asked.scratch / "exported.json"
    saved.write_bytes(content)
    try:
        model = framework.CatBoost()
        model.load_model(str(saved), format="cbm")
        _refuse_before_export(model, where.path)
        model.save_model(str(exported), format="json")
    except (framework.CatBoostError, *_DAMAGED) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise ModelError(
            f"{where.path}: CatBoost {framework.__version__} can't read it: {reason}",
            "Save it again with save_model and check that the file was copied whole.",
        ) from error
    document = _json(exported.read_bytes(), Path(where.path), CatBoostExport)
    exported.unlink()
    order = () if isinstance(document, dict) and "oblivious_trees" in document else _leaf_order(model, where.path)
    return catboost.load(
        document, content, "model.cbm", where, margin=asked.margin, leaf_order=order, data=asked.data, label=asked.label
    )


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
        raise ModelError(f"{path}: its trees don't hold together: {error}", "Save it again with save_model.") from error


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


def _refuse_before_export(model: object, path: str) -> None:
    """Text and embedding features can't be exported to JSON: refuse them by name before CatBoost's own error."""
    for kind in ("text", "embedding"):
        indices = getattr(model, f"get_{kind}_feature_indices")()
        if len(indices):
            raise ModelError(f"{path}: CatBoost's {kind} features are not supported (columns {list(indices)[:5]})")


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
