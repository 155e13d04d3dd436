"""The formats that are damaged, a line each: what is open to a file that somebody else may have written.

``read`` is ours: it answers, or raises one of millwork's errors. ``engine`` is a native library that takes the file
next, as the pipeline has it do: it may raise what it likes (its process says so), and where it isn't ours it may crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from millwork.values import FeatureContract

ROWS = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
FEATURES = FeatureContract(names=("a", "b", "c"), named=True)


def _model(path: Path) -> Any:
    """A model's file: read, lowered, and run by the interpreter."""
    from millwork.compile.frontends.read import read
    from millwork.passes import base, program
    from millwork.passes import pass_table as passes

    found = read(path, path.parent)
    base.run(passes.LOWERING, found.program)
    rows, categories = _given(found)
    program.run(found.program, rows, categories)
    return found


def _given(found: Any) -> tuple[Any, Any]:
    rows = np.resize(ROWS, (5, len(found.signature.features.names)))
    kinds = found.signature.features
    if not kinds.category_names:
        return rows, None
    kind = np.int64 if kinds.category_dtype == "int64" else "U8"
    return rows, np.zeros((5, len(kinds.category_names)), kind)


def _archive(path: Path) -> Any:
    """A net's file as our own reader takes it apart: only what passes is given to torch."""
    from millwork.compile.frontends.torch import archive

    return archive.read(path.read_bytes())


def _weights(path: Path) -> Any:
    from millwork.compile.frontends.torch import state_dicts

    return state_dicts.read(path.read_bytes())


def _net(path: Path, _: Any) -> None:
    """torch takes what passed; a net in another shape than its card says is torch's own error, in its own process."""
    from millwork.compile.frontends.read import read

    read(path, path.parent)


def _framework(path: Path, found: Any) -> None:
    """The framework itself, asked as the oracle asks it."""
    from millwork.compile.runners.load import runner

    oracle = found.signature.oracle
    native = path.parent / oracle.native_file
    native.write_bytes(found.native)
    engine = runner(f"{oracle.framework}_runner")(native, oracle.parameters, 1)
    engine.predict(*_given(found))


def _onnx(path: Path, _: Any) -> None:
    from millwork.compile.runners.onnx_runner import Runner

    Runner(path, {}, 1).predict(ROWS)


def _packed(path: Path, _: Any) -> None:
    from millwork.compile.runners.native_runner import Runner

    engine = Runner(path, {}, 1)
    if engine.shape.features < 1000 and not engine.takes_categories:
        engine.predict(np.resize(ROWS, (40, engine.shape.features)).astype(np.float32))


def _manifest(path: Path) -> None:
    from millwork.artifacts import manifest

    path.replace(path.parent / manifest.MANIFEST_FILE)
    manifest.read_intact(path.parent)


def _config(path: Path) -> None:
    from millwork.artifacts.repository import layout
    from millwork.triton import config as triton_config

    place = layout.Place(root=path.parent, name="", state=path.parent)
    content = path.read_bytes()
    layout.served_by(place, content, [1, 2, 3])
    text = content.decode()
    triton_config.fingerprint(text)
    triton_config.with_version(text, 3)
    triton_config.pinned(text, [2])
    triton_config.settings_of(text)


def _rows(path: Path) -> None:
    from millwork.storage import tables

    tables.read(path, FEATURES)


def _nothing(_: Path) -> None:
    """Not read by us: the engine takes it as it is."""


@dataclass(frozen=True)
class Format:
    suffix: str
    read: Callable[[Path], Any]
    engine: Callable[[Path, Any], None] | None = None
    may_crash: bool = True


FORMATS = {
    "json": Format(".json", _model, _framework),
    # Versions that the installed one isn't asked to judge: it crashes on whole files of theirs.
    "json of others": Format(".json", _model, may_crash=False),
    "ubj": Format(".ubj", _model, _framework),
    "cbm": Format(".cbm", _model, _framework),
    "pkl": Format(".pkl", _model, _framework),
    "joblib": Format(".joblib", _model, _framework),
    "pt2": Format(".pt2", _archive, _net),
    "weights": Format(".pt", _weights),
    "onnx": Format(".onnx", _nothing, _onnx),
    "packed": Format(".packed", _nothing, _packed, may_crash=False),
    "manifest": Format(".json", _manifest, may_crash=False),
    "config": Format(".pbtxt", _config, may_crash=False),
    "npz": Format(".npz", _rows, may_crash=False),
    "npy": Format(".npy", _rows, may_crash=False),
    "parquet": Format(".parquet", _rows),
    "csv": Format(".csv", _rows),
    "csv.gz": Format(".csv.gz", _rows),
    "arrow": Format(".arrow", _rows),
}
