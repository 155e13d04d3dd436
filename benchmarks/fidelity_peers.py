"""One public path from a model to answers, over many cases. Standalone: run in the path's own environment.

    python fidelity_peers.py PATH CASES_DIR RESULTS.json

PATH: onnxmltools | catboost-onnx | treelite | tl2cgen | hummingbird. Each folder of CASES_DIR is a case (see
fidelity.py). Each runs in a fork of its own, so that a crash is one case's. A path gets the model as its users would
give it: the fitted wrapper where there is one, else the Booster or the model's file.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_S = 120
ABS, REL = 2e-6, 1e-5


def onnxmltools(case: Path, meta: dict[str, Any], rows: Any) -> Any:
    import onnxmltools as tools
    from onnxmltools.convert.common.data_types import FloatTensorType

    kind = [("input", FloatTensorType([None, rows.shape[1]]))]
    if meta["framework"] == "catboost":
        raise NotImplementedError("CatBoost's own export is another path")
    model = tools.convert_xgboost(_xgboost(case, meta), initial_types=kind)
    return _onnx(model.SerializeToString(), rows)


def catboost_onnx(case: Path, meta: dict[str, Any], rows: Any) -> Any:
    if meta["framework"] != "catboost":
        raise NotImplementedError("not for XGBoost")
    import catboost

    model = catboost.CatBoost().load_model(str(case / meta["native"]), format=meta["format"])
    with tempfile.TemporaryDirectory() as folder:
        model.save_model(f"{folder}/m.onnx", format="onnx")
        return _onnx(Path(f"{folder}/m.onnx").read_bytes(), rows)


def treelite(case: Path, meta: dict[str, Any], rows: Any) -> Any:
    import treelite as lib

    model = _treelite(lib, case, meta)
    return np.asarray(lib.gtil.predict(model, rows)).reshape(len(rows), -1)


def tl2cgen(case: Path, meta: dict[str, Any], rows: Any) -> Any:
    import tl2cgen as generator
    import treelite as lib

    model = _treelite(lib, case, meta)
    with tempfile.TemporaryDirectory() as folder:
        generator.export_lib(model, toolchain="gcc", libpath=f"{folder}/m.so", params={})
        out = generator.Predictor(f"{folder}/m.so").predict(generator.DMatrix(rows, dtype="float32"))
        return np.asarray(out).reshape(len(rows), -1)


def hummingbird(case: Path, meta: dict[str, Any], rows: Any) -> Any:
    from hummingbird.ml import convert

    if meta["framework"] == "catboost":
        raise NotImplementedError("not for CatBoost")
    model = convert(_wrapper(case, meta), "torch", rows[:100])
    proba = hasattr(model, "predict_proba")
    return np.asarray(model.predict_proba(rows) if proba else model.predict(rows)).reshape(len(rows), -1)


def _treelite(lib: Any, case: Path, meta: dict[str, Any]) -> Any:
    if meta["framework"] != "xgboost":
        raise NotImplementedError("not for CatBoost")
    return lib.frontend.load_xgboost_model(str(case / meta["json"]))


def _xgboost(case: Path, meta: dict[str, Any]) -> Any:
    if meta["pickle"]:
        return pickle.loads((case / meta["pickle"]).read_bytes())  # noqa: S301 (made by fidelity.py itself)
    import xgboost

    return xgboost.Booster(model_file=str(case / meta["native"]))


def _wrapper(case: Path, meta: dict[str, Any]) -> Any:
    """Hummingbird takes scikit-learn's wrappers only: a Booster is loaded into one."""
    made = _xgboost(case, meta)
    if meta["pickle"]:
        return made
    import xgboost

    wrapper = (xgboost.XGBClassifier if meta["classifier"] else xgboost.XGBRegressor)()
    wrapper.load_model(str(case / meta["json"]))
    return wrapper


def _onnx(content: bytes, rows: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: rows}
    outputs = session.run(None, given)
    last = outputs[-1]
    if isinstance(last, list) and last and isinstance(last[0], dict):
        last = np.array([[row[key] for key in sorted(row)] for row in last])
    return np.asarray(last, np.float32).reshape(len(rows), -1)


PATHS = {"onnxmltools": onnxmltools, "catboost-onnx": catboost_onnx, "treelite": treelite, "tl2cgen": tl2cgen,
         "hummingbird": hummingbird}  # fmt: skip


def verdict(path: str, case: Path) -> str:
    """``right``, ``wrong: …`` or ``refused: …``."""
    meta = json.loads((case / "meta.json").read_text())
    rows, wanted = np.load(case / "rows.npy"), np.load(case / "answers.npy")
    if meta["categories"]:
        return "refused: takes no categories"
    try:
        got = np.asarray(PATHS[path](case, meta, rows), np.float64)
    except NotImplementedError as error:
        return f"none: {error}"
    except BaseException as error:  # noqa: BLE001 (whatever a converter throws)
        first = (str(error).strip().splitlines() or [""])[0]
        return f"refused: {type(error).__name__}: {first[:90]}"
    if got.shape[1] == 1 and wanted.shape[1] == 2:  # one probability for two classes is no mistake
        got = np.hstack([1 - got, got])
    if got.shape != wanted.shape:
        return f"wrong: answers of shape {list(got.shape)} for {list(wanted.shape)}"
    with np.errstate(invalid="ignore"):
        near = np.abs(got - wanted) <= ABS + REL * np.abs(wanted)
    bad = float((~(near | (np.isnan(got) & np.isnan(wanted)))).any(axis=1).mean())
    return "right" if bad == 0 else f"wrong: {bad:.1%} of rows"


def main() -> int:
    path, cases, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    results: dict[str, str] = {}
    for case in sorted(p for p in cases.iterdir() if p.is_dir()):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            signal.alarm(LIMIT_S)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(write, verdict(path, case).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read().decode()
        status = os.waitpid(child, 0)[1]
        dead = "refused: takes too long" if status == signal.SIGALRM else f"refused: dies of signal {status & 127}"
        results[json.loads((case / "meta.json").read_text())["name"]] = said or dead
    out.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
