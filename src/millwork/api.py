"""The Python API: :func:`optimize`, for the end of a training script."""

from __future__ import annotations

import contextlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

import numpy as np

from . import export_net
from .errors import MillworkError, ModelError, UsageError, did_you_mean
from .pipeline import optimize as pipeline
from .pipeline.option import fields
from .pipeline.options import Options, SharedOptions
from .progress import Lines, Progress, Silent, shown, watched
from .storage import named_rows, scratch
from .storage.inputs import require_local
from .values import Record

KINDS = {"xgboost", "catboost", "sklearn"}
"""Packages whose objects are pickled, and read as a file of theirs would be. Of scikit-learn that is a pipeline that
does nothing before its model; for the others the file's hint says what to give."""
ARGUMENTS = {
    "model.pkl": "the model",
    "model.pt2": "the model",
    "data.arrow": "data",
    "data.npz": "data",
}
"""What a live argument is written to, and what it is called."""


class _Model(SharedOptions, kw_only=False):
    model: object


class LiveOptions(_Model, kw_only=True):
    """What :func:`optimize` takes: the options of the command line, where a model and rows may be live."""

    data: object = None
    label: object = None
    example: object = None
    progress: Progress | bool | None = None


P = ParamSpec("P")
R = TypeVar("R")


def _taking(options: Callable[P, LiveOptions]) -> Callable[[Callable[[LiveOptions], R]], Callable[P, R]]:
    """The decorator that gives a function the options' signature: they are written nowhere again, and an editor and a
    type checker know them all the same."""
    signature, hints = inspect.signature(options), get_type_hints(options)
    parameters = [signature.parameters[name].replace(annotation=hints[name]) for name in fields(options)]
    parameters.sort(key=lambda parameter: parameter.kind)  # ``model`` is the first

    def decorate(function: Callable[[LiveOptions], R]) -> Callable[P, R]:
        @wraps(function)
        def called(*args: P.args, **given: P.kwargs) -> R:
            for name in given:
                if name not in signature.parameters:
                    near = did_you_mean(name, signature.parameters)
                    raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}{near}")
            return function(options(*args, **given))

        called.__signature__ = inspect.Signature(parameters, return_annotation=Record)  # type: ignore[attr-defined]
        return called

    return decorate


@_taking(LiveOptions)
def optimize(given: LiveOptions) -> Record:
    """Convert, prove, measure and publish ``model``; the command ``optimize``, without --executor and --json.

    It takes the options that ``optimize --help`` tells, by their names: ``slo="p99<5ms"``, ``dry_run=True``. Beside
    them, and as Python has it:

    ``model``: a path, or a fitted xgboost or catboost estimator or Booster, or a torch.nn.Module, with ``example`` (its
    arguments, as :func:`millwork.save_net` takes them; of one argument ``data`` will do, from which the column of
    ``label`` is left out) and ``task``. ``data``: a path, an array [rows, features], or anything whose columns have
    names: a frame of pandas, polars or pyarrow, a mapping. Such columns are found by name. ``label``: the name of a
    column of ``data``, or labels [rows] to go with an array or a frame. ``backends`` may be a list, ``traffic`` a
    mapping of batch sizes to shares.
    ``progress`` is told what happens; True: lines on stderr, False: nothing, None: lines on a terminal and in a
    notebook. A live model that is to be published needs a ``name``.

    Returns the run's record, as in ``RUN_DIR/run.json``. Raises as the package's docstring lists; the error's
    ``record`` is what was found before it, or None.
    """
    if given.name is None and given.repository is not None and not isinstance(given.model, str | Path):
        raise UsageError("a live model has no file's name to be published under", "Give name=….")
    with scratch.folder("model") as folder:
        path = _model(given, folder)
        data, label = _rows(given.data, given.label, folder)
        shared = {name: getattr(given, name) for name in SharedOptions.__struct_fields__}
        options = Options(model=str(path), data=data, label=label, **shared)
        with _told_as_given(folder), _listening(given.progress) as progress:
            outcome = pipeline.optimize(options, progress)
    if outcome.error is not None:
        raise outcome.error
    return outcome.record


@contextlib.contextmanager
def _listening(asked: Progress | bool | None) -> Iterator[Progress]:
    """Whom the run tells what happens."""
    if asked is None or isinstance(asked, bool):
        lines = watched() if asked is None else shown() if asked else Silent()
        with contextlib.closing(lines) if isinstance(lines, Lines) else contextlib.nullcontext():
            yield lines
    else:
        yield asked


@contextlib.contextmanager
def _told_as_given(folder: Path) -> Iterator[None]:
    """Errors name the arguments, not the files that these were written to."""
    try:
        yield
    except MillworkError as error:
        for name, argument in ARGUMENTS.items():
            error.message = error.message.replace(str(folder / name), argument)
            error.hint = error.hint.replace(str(folder / name), argument)
        raise


def _model(given: LiveOptions, folder: Path) -> Path:
    """A path as it is; a net exported; another live model pickled, which is then read as any other pickle: by inert
    stubs."""
    model = given.model
    if isinstance(model, str | Path):
        require_local(model, "the model")
        return Path(model)
    if any(kind.__module__ == "torch.nn.modules.module" for kind in type(model).__mro__):
        return _net(given, folder)
    if type(model).__module__.split(".")[0] not in KINDS:
        raise ModelError(
            f"can't optimize a {type(model).__module__}.{type(model).__name__}",
            "Give a path, an xgboost or catboost model, or a torch module.",
        )
    path = folder / "model.pkl"
    try:
        path.write_bytes(pickle.dumps(model, protocol=4))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ModelError(
            f"the model can't be pickled: {error}",
            "Save it with save_model and give the file's path instead. XGBoost's loses a missing= that isn't NaN.",
        ) from error
    return path


def _net(given: LiveOptions, folder: Path) -> Path:
    """The net exported; ``data`` is its example where none is given, without its column of labels."""
    example = given.data if given.example is None else given.example
    if example is None or isinstance(example, str | Path):
        raise UsageError(
            "a torch module without example", "Give example=rows, or (rows, codes): what it is called with."
        )
    if given.example is None and named_rows.has_names(example) and not hasattr(example, "to_numpy"):
        example = named_rows.table(example, None)[0].to_pandas()
    names: list[str] = []
    if hasattr(example, "columns") and hasattr(example, "to_numpy"):
        features = _features(example, given.label, is_data=given.example is None)
        names = [str(name) for name in features]
        example = _numbers(example, features)
    elif given.example is None and not isinstance(example, tuple | list | dict):
        example = np.asarray(example, np.float32)
    return export_net.save_net(given.model, example, folder / "model.pt2", task=given.task, names=names)


def _features(frame: Any, label: object, *, is_data: bool) -> list[Any]:
    """A frame's columns without the labels': ``label`` is the column's name, or a series that was taken out of it."""
    columns = list(frame.columns)
    if label is None:
        return columns
    if named_rows.is_name(label):
        label = label if label in columns else str(label)  # a table of arrow has texts for names
        if is_data and label not in columns:
            near = did_you_mean(str(label), map(str, columns))
            raise UsageError(f"data has no column {label!r} (label){near}", f"It has {_some(columns)}.")
        return [name for name in columns if name != label]
    name = getattr(label, "name", None)
    taken = name in columns and np.array_equal(np.asarray(frame[name]), np.asarray(label))
    return [column for column in columns if column != name] if taken else columns


def _numbers(frame: Any, columns: list[Any]) -> Any:
    """float32 [N, F]. UsageError names the first column that holds no numbers."""
    for name in columns:
        try:
            np.asarray(frame[name], np.float32)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"column {str(name)!r} of the net's example isn't numeric: {str(error).splitlines()[0]}",
                "Encode it as the net takes it, or leave it out; label= names the labels' column.",
            ) from error
    return np.asarray(frame[columns], np.float32)


def _some(columns: list[Any]) -> str:
    return ", ".join(map(str, columns[:8])) + (", …" if len(columns) > 8 else "")


def _rows(data: object, label: object, folder: Path) -> tuple[str | None, str | None]:
    """The data file's path and the label's name; frames and arrays are written to a file first."""
    if data is None or isinstance(data, str | Path):
        if label is not None and not named_rows.is_name(label):
            raise UsageError(
                "label is an array and data isn't", "Give data as an array or a frame, or label as a name."
            )
        return None if data is None else str(data), None if label is None else str(label)
    if named_rows.has_names(data):
        return _frame(data, label, folder)
    if label is not None and named_rows.is_name(label):
        raise UsageError(
            f"label {label!r} names a column, and data has no names", "Give label as an array, or data as a frame."
        )
    try:
        rows = np.asarray(data)
    except Exception as error:  # whatever another library's array raises
        raise UsageError(f"data can't be taken as an array: {error}") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise UsageError(
            f"data must be numbers of shape [rows, features], it is {rows.dtype} {list(rows.shape)}",
            "Or give a frame, whose columns have names.",
        )
    arrays: dict[str, Any] = {"X": rows}
    if label is not None:
        arrays["label"] = named_rows.labels(label)
        if len(arrays["label"]) != len(rows):
            raise UsageError(f"{len(arrays['label'])} labels for {len(rows)} rows")
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz"), None if label is None else "label"


def _frame(frame: object, label: object, folder: Path) -> tuple[str, str | None]:
    import pyarrow as pa

    path = folder / "data.arrow"
    table, name = named_rows.table(frame, label)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return str(path), name
