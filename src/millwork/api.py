"""The Python API: :func:`optimize`, for the end of a training script."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from . import export_net
from .errors import ModelError, UsageError
from .pipeline import optimize as pipeline
from .pipeline.options import Options
from .progress import Progress
from .storage import scratch

if TYPE_CHECKING:
    from .values import Record

KINDS = {"xgboost", "catboost"}


def optimize(
    model: object,
    *,
    data: object = None,
    label: object = None,
    example: object = None,
    task: str | None = None,
    module: str | None = None,
    target: str = "host",
    allow_other_gpu: bool = False,
    repository: str | Path | None = None,
    name: str | None = None,
    output: str = "probability",
    backends: str | Sequence[str] | None = None,
    precision: str | None = None,
    tolerance: str | None = None,
    traffic: str | Mapping[int, float] | None = None,
    slo: str | None = None,
    objective: str | None = None,
    tune_budget: float | None = None,
    triton: str = "managed",
    triton_release: str | None = None,
    run_dir: str | Path | None = None,
    threads: int = 1,
    dry_run: bool = False,
    sign: str | Path | None = None,
    trust: bool = False,
    progress: Progress | None = None,
) -> Record:
    """Convert, prove, measure and publish ``model``; the command ``optimize``, without --executor and --json.

    ``model``: a path, or a fitted xgboost or catboost estimator or Booster, or a torch.nn.Module, with ``example`` (its
    arguments, as :func:`millwork.save_net` takes them; of one argument ``data`` will do) and ``task``. ``data``: a
    path, a pandas DataFrame, or an array [rows, features]. ``label``: the name of a column of ``data``, or labels
    [rows] to go with an array or a frame. ``backends`` may be a list, ``traffic`` a mapping of batch sizes to shares.
    A live model that is to be published needs a ``name``.

    Returns the run's record, as in ``RUN_DIR/run.json``. Raises as the package's docstring lists; the error's
    ``record`` is what was found before it, or None.
    """
    if name is None and repository is not None and not isinstance(model, str | Path):
        raise UsageError("a live model has no file's name to be published under", "Give name=….")
    with scratch.folder("model") as folder:
        path = _model(model, folder, data if example is None else example, task)
        data_path, label_name = _rows(data, label, folder)
        options = Options(
            model=str(path),
            data=data_path,
            label=label_name,
            target=target,
            repository=None if repository is None else str(repository),
            name=name,
            output=output,
            backends=backends if backends is None or isinstance(backends, str) else ",".join(backends),
            precision=precision,
            task=task,
            module=module,
            tolerance=tolerance,
            traffic=_traffic(traffic),
            slo=slo,
            objective=objective,
            allow_other_gpu=allow_other_gpu,
            tune_budget=tune_budget,
            triton=triton,
            triton_release=triton_release,
            run_dir=None if run_dir is None else str(run_dir),
            threads=threads,
            dry_run=dry_run,
            sign=None if sign is None else str(sign),
            trust=trust,
        )
        outcome = pipeline.optimize(options, progress)
    if outcome.error is not None:
        raise outcome.error
    return outcome.record


def _traffic(traffic: str | Mapping[int, float] | None) -> str | None:
    """``{1: 0.9, 64: 0.1}`` as the command line has it."""
    if traffic is None or isinstance(traffic, str):
        return traffic
    return "batch=" + ",".join(f"{batch}:{share}" for batch, share in traffic.items())


def _model(model: object, folder: Path, example: object, task: str | None) -> Path:
    """A path as it is; a net exported; another live model pickled, which is then read as any other pickle: by inert
    stubs."""
    if isinstance(model, str | Path):
        return Path(model)
    if any(kind.__module__ == "torch.nn.modules.module" for kind in type(model).__mro__):
        return _net(model, folder, example, task)
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
            f"the model can't be pickled: {error}", "Save it with save_model and give the file's path instead."
        ) from error
    return path


def _net(module: Any, folder: Path, example: object, task: str | None) -> Path:
    if example is None or isinstance(example, str | Path):
        raise UsageError(
            "a torch module without example", "Give example=rows, or (rows, codes): what it is called with."
        )
    names: list[str] = []
    if hasattr(example, "columns") and hasattr(example, "to_numpy"):
        names = [str(name) for name in example.columns]
        example = example.to_numpy()
    if not isinstance(example, tuple | list):
        example = np.asarray(example, np.float32)
    return export_net.save_net(module, example, folder / "model.pt2", task=task, names=names)


def _rows(data: object, label: object, folder: Path) -> tuple[str | None, str | None]:
    """The data file's path and the label's name; frames and arrays are written to a file first."""
    if data is None or isinstance(data, str | Path):
        if label is not None and not isinstance(label, str):
            raise UsageError(
                "label is an array and data isn't", "Give data as an array or a frame, or label as a name."
            )
        return None if data is None else str(data), label
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _frame(data, label, folder)
    rows = np.asarray(data)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise UsageError(f"data must be numbers of shape [rows, features], it is {rows.dtype} {list(rows.shape)}")
    arrays: dict[str, Any] = {"X": rows}
    if label is not None:
        arrays["label"] = np.asarray(label)
        if arrays["label"].dtype.kind == "O":
            arrays["label"] = arrays["label"].astype(str)
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz"), None if label is None else "label"


def _frame(frame: Any, label: object, folder: Path) -> tuple[str, str | None]:
    import pyarrow as pa
    import pyarrow.parquet

    path = folder / "data.parquet"
    if label is not None and not isinstance(label, str) and len(np.asarray(label)) != len(frame):
        raise UsageError(f"{len(np.asarray(label))} labels for {len(frame)} rows")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if label is not None and not isinstance(label, str):
            table = table.append_column("__label__", pa.array(np.asarray(label)))
            label = "__label__"
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise UsageError(f"data can't be taken as a table: {str(error).splitlines()[0]}") from error
    pyarrow.parquet.write_table(table, path)
    return str(path), label


def to_json(record: Record) -> str:
    """The record as run.json has it."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2).decode()
