"""Small whole files of each format, for the mutants to be made from."""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS = np.random.default_rng(7).normal(size=(60, 3)).astype(np.float32)
KEPT = Path(__file__).resolve().parent.parent / "compile" / "files"


def write(name: str, folder: Path) -> None:
    """The seeds of the format, into the folder."""
    for number, content in enumerate(SEEDS[name]()):
        (folder / f"{number:02}").write_bytes(content)


def _xgboost() -> Iterator[Any]:
    import xgboost as xgb

    usual: dict[str, Any] = {"n_estimators": 2, "max_depth": 2, "n_jobs": 1}
    yield xgb.XGBClassifier(**usual).fit(ROWS, np.digitize(ROWS[:, 0], [-0.4, 0.4]))
    yield xgb.XGBRegressor(**usual, missing=-999.0).fit(ROWS, ROWS[:, 0])
    yield xgb.XGBRegressor(**usual, booster="dart", rate_drop=0.5).fit(ROWS, ROWS[:, 0])
    yield xgb.XGBRegressor(n_estimators=2, booster="gblinear").fit(ROWS, ROWS[:, 0])
    import pandas as pd

    frame = pd.DataFrame({"a": ROWS[:, 0], "b": pd.Categorical(np.array(["x", "y", "z"])[np.arange(60) % 3])})
    yield xgb.XGBRegressor(**usual, enable_categorical=True).fit(frame, ROWS[:, 0])


def _catboost() -> Iterator[Any]:
    import catboost as cb

    usual: dict[str, Any] = {"iterations": 2, "depth": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    yield cb.CatBoostRegressor(**usual).fit(ROWS, ROWS[:, 0])
    yield cb.CatBoostClassifier(**usual, grow_policy="Lossguide").fit(ROWS, np.digitize(ROWS[:, 0], [-0.4, 0.4]))
    yield cb.CatBoostRegressor(**usual, loss_function="MultiRMSE", grow_policy="SymmetricTree").fit(ROWS, ROWS[:, :2])


def _json() -> Iterator[bytes]:
    yield from (bytes(model.get_booster().save_raw("json")) for model in _xgboost())
    yield from _kept(lambda name: "xgboost-3.2.0" in name or "catboost" in name)


def _kept(wanted: Callable[[str], bool]) -> Iterator[bytes]:
    """Small files of several versions."""
    for path in sorted((KEPT / "versions").glob("*.json")):
        if path.name != "answers.json" and path.stat().st_size < 9000 and wanted(path.name):
            yield path.read_bytes()


def _ubj() -> Iterator[bytes]:
    yield from (bytes(model.get_booster().save_raw("ubj")) for model in _xgboost())


def _cbm() -> Iterator[bytes]:
    import tempfile

    for model in _catboost():
        with tempfile.TemporaryDirectory() as folder:
            model.save_model(f"{folder}/model.cbm")
            yield Path(folder, "model.cbm").read_bytes()


def _pkl() -> Iterator[bytes]:
    for model in (*_xgboost(), *_catboost()):
        yield from (pickle.dumps(model, protocol) for protocol in (0, 2, 5))


def _joblib() -> Iterator[bytes]:
    import joblib

    for model in (*_xgboost(), *_catboost()):
        model.extra = [ROWS[:3], np.array(["a", None], object)]
        for compress in (0, 0, 0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3), ("lz4", 3)):
            buffer = io.BytesIO()
            joblib.dump(model, buffer, compress=compress)
            yield buffer.getvalue()


def _built(backend: str) -> Iterator[bytes]:
    import tempfile

    from models.forests import program_of, random_forest

    from millwork.compile.backends import table as backends
    from millwork.compile.backends.base import Artifact, Source
    from millwork.compile.frontends.read import read
    from millwork.passes import base, pass_table
    from millwork.triton_releases import find

    if backend == "native":
        from millwork.compile.backends.native import cpu_file

        for seed in range(12):
            with tempfile.TemporaryDirectory() as folder:
                forest = random_forest(seed, trees=1 + seed % 5, depth=seed % 5, features=3, categorical=seed % 2)
                cpu_file.write(program_of(forest, "identity"), Path(folder) / "packed")
                yield Path(folder, "packed").read_bytes()
        return
    for content in list(_ubj())[:4]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.ubj"
            path.write_bytes(content)
            found = read(path, Path(folder))
            lowered = base.run(pass_table.LOWERING, found.program).program
            built = backends.find(backend).build(
                lowered, Source(native=str(path), signature=found.signature), Path(folder), find("25.12")
            )
            if isinstance(built, Artifact):
                yield Path(folder, built.model_file).read_bytes()


def _pt2() -> Iterator[bytes]:
    import tempfile

    import torch

    import millwork

    torch.manual_seed(3)
    nets = [torch.nn.Linear(3, 1), torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))]
    for net, task in zip(nets, ("binary", "multiclass"), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            yield millwork.save_net(net, ROWS, Path(folder) / "net.pt2", task=task).read_bytes()


def _weights() -> Iterator[bytes]:
    """A state dict by torch.save, in both of its formats, and by safetensors."""
    import io
    import json

    import torch

    torch.manual_seed(3)
    state = torch.nn.Linear(3, 1).state_dict()
    for zipped in (True, False):
        out = io.BytesIO()
        torch.save(state, out, _use_new_zipfile_serialization=zipped)
        yield out.getvalue()
    places = {"weight": ([1, 3], [0, 12]), "bias": ([1], [12, 16])}
    header = json.dumps({n: {"dtype": "F32", "shape": s, "data_offsets": at} for n, (s, at) in places.items()}).encode()
    yield len(header).to_bytes(8, "little") + header + b"".join(state[name].numpy().tobytes() for name in places)


def _manifest() -> Iterator[bytes]:
    from millwork.artifacts import manifest
    from millwork.values import (
        FeatureContract,
        FileDigest,
        Manifest,
        ModelSummary,
        OutputContract,
        Parity,
        Provenance,
        TargetSummary,
    )

    output = OutputContract(kind="probability", task="binary", labels=("no", "yes"), threshold=0.5)
    yield manifest.encode(
        Manifest(
            schema=1,
            name="m",
            created="2026-01-02T03:04:05+00:00",
            millwork="0.1.0",
            backend="onnx",
            precision="fp32",
            triton_backend="onnxruntime",
            triton_release="24.10",
            model_file="model.onnx",
            features=FeatureContract(names=("a", "b"), named=True),
            output=output,
            model=ModelSummary(
                framework="xgboost", objective="binary:logistic", sha256="ab", features=("a",), outputs=()
            ),
            source=Provenance(
                path="m.json", format="xgboost-json", sha256="ab", framework="xgboost", framework_version=""
            ),
            parity=Parity(rows=10, leaf_mismatches=0, max_abs=0.0, max_rel=0.0, max_ulp=0, decision_flips=0),
            latency=(),
            target=TargetSummary(name="host", measured_on="here", is_target=True),
            requirements=(),
            files=(
                FileDigest(path="model.onnx", sha256="0" * 64, bytes=7),
                FileDigest(path="sub/x", sha256="", bytes=1),
            ),
        )
    )


def _config() -> Iterator[bytes]:
    from millwork.triton.config import ConfigRequest, render
    from millwork.triton.settings import Settings
    from millwork.triton_releases import find
    from millwork.values import OutputContract

    output = OutputContract(kind="probability", task="binary", labels=("no", "yes"), threshold=0.5)
    kinds = ("onnxruntime", "fil", "python", "millwork")
    for kind in kinds:
        yield render(
            ConfigRequest(
                name="m",
                triton_backend=kind,
                release=find("24.10"),
                model_file="model",
                model_sha256="ab",
                features=2,
                output=output,
                settings=Settings(instances=2, threads=3, batching=True, preferred=(4, 8), delay_us=100),
            )
        ).encode()
    yield b'name: "other"\nversion_policy { latest { num_versions: 2 } }\nunknown { a { b: 1 } c: [1, 2] }\n'


def _arrays(kind: str) -> Iterator[bytes]:
    for rows in (ROWS[:9], ROWS[:9].astype(np.float64), np.asfortranarray(ROWS[:5])):
        buffer = io.BytesIO()
        if kind == "npy":
            np.save(buffer, rows)
        else:
            np.savez(buffer, X=rows, y=rows[:, 0])
        yield buffer.getvalue()
    if kind == "npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, X=ROWS, C=np.array([["a"]] * 60))
        yield buffer.getvalue()


def _table(kind: str) -> Iterator[bytes]:
    import pandas as pd
    import pyarrow as pa

    frame = pd.DataFrame(ROWS[:20], columns=["a", "b", "c"])
    frame["d"] = [f"word {n % 3}" for n in range(20)]
    frame["e"] = pd.array([None if n % 4 == 0 else n for n in range(20)], "Int64")
    if kind.startswith("csv"):
        text = frame.to_csv(index=False).encode()
        yield text if kind == "csv" else gzip.compress(text, mtime=0)
        return
    if kind == "arrow":
        for codec in ("uncompressed", "lz4", "zstd"):
            sink = io.BytesIO()
            frame.to_feather(sink, compression=codec)
            yield sink.getvalue()
        sink = io.BytesIO()
        table = pa.Table.from_pandas(frame)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield sink.getvalue()
        return
    for compression in ("snappy", "gzip", "zstd", None):
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, compression=compression)
        yield buffer.getvalue()


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "json": _json,
    "json of others": lambda: _kept(lambda name: "xgboost" in name and "-3.2.0" not in name),
    "ubj": _ubj,
    "cbm": _cbm,
    "pkl": _pkl,
    "joblib": _joblib,
    "pt2": _pt2,
    "weights": _weights,
    "onnx": lambda: _built("onnx"),
    "packed": lambda: _built("native"),
    "manifest": _manifest,
    "config": _config,
    "npz": lambda: _arrays("npz"),
    "npy": lambda: _arrays("npy"),
    "parquet": lambda: _table("parquet"),
    "csv": lambda: _table("csv"),
    "csv.gz": lambda: _table("csv.gz"),
    "arrow": lambda: _table("arrow"),
}
