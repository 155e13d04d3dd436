"""Ask a framework's runner for its answers and leaves. A standalone script: numpy, the framework and the
runner, with what lies beside that.

    python ask.py REQUEST.json      {"runner": FILE.py, "model_file": FILE, "parameters": {…}, "rows": FILE.npy,
                                     "categories": FILE.npy or "", "frame": FILE.npz or "", "folder": DIR, "threads": N}

Writes answers.npy (float32 [N, K]), leaves.npy (int32 [N, T]) and told.json (the framework's names of its classes, and
what it made of the user's frame, where one is given) into the folder, and replies with the framework's
version on the file descriptor that MILLWORK_REPLY_FD names. Run by the interpreter that has the version that wrote
the model, which need not be ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 65536
"""Rows a call: leaves of many trees are large."""
BATCHES = (1, 3, 1025)
"""The first calls, as validators/parity.py has them: a net may have rows that affect each other."""


def main(request: dict[str, Any]) -> str:
    sys.path.insert(0, str(Path(request["runner"]).parent))  # before anybody's package of the same name
    spec = importlib.util.spec_from_file_location("millwork_runner", request["runner"])
    if spec is None or spec.loader is None:
        raise ImportError(request["runner"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    runner = module.Runner(Path(request["model_file"]), request["parameters"], request["threads"])
    rows = np.load(request["rows"], allow_pickle=False)
    categories = _texts(np.load(request["categories"], allow_pickle=False)) if request["categories"] else None
    first = [end for end in itertools.accumulate(BATCHES) if end < len(rows)]
    bounds = [0, *first, *range(max(first, default=0) + BLOCK, len(rows), BLOCK), len(rows)]
    blocks = [(rows[i:j], None if categories is None else categories[i:j]) for i, j in itertools.pairwise(bounds)]
    folder = Path(request["folder"])
    np.save(folder / "answers.npy", np.concatenate([runner.predict(*block) for block in blocks]))
    np.save(folder / "leaves.npy", np.concatenate([runner.leaves(*block) for block in blocks]))
    told: dict[str, Any] = {"labels": list(getattr(runner, "labels", []))}
    if request.get("frame"):
        frames = importlib.import_module("catboost_frame")  # beside the runner
        told["frame"] = frames.compare(runner, Path(request["frame"]), (rows, categories), _texts)
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    return str(runner.version)


def _texts(array: Any) -> Any:
    """As storage/texts.py packs them: text that numpy's own type would cut is JSON."""
    if array.dtype != np.uint8:
        return array
    shape, words = json.loads(array.tobytes())
    out = np.empty(len(words), object)
    out[:] = words
    return out.reshape(shape)


if __name__ == "__main__":
    # Frameworks import scikit-learn where it is there, for wrappers that nobody asks here: a second's work, unless it
    # seems not to be there.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        reply = main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except Exception as error:
        # The last line of a traceback is what is reported: XGBoost's own message would end in a stack of addresses.
        first = (str(error).strip().splitlines() or [""])[0]
        raise RuntimeError(f"{type(error).__name__}: {first}") from error
    os.write(int(os.environ["MILLWORK_REPLY_FD"]), reply.encode())
