"""How long a large model takes from its file to each artifact, and how much memory: 2,000 trees of depth 8.

    python benchmarks/conversion.py [--trees 2000] [--depth 8] [--out benchmarks/results/conversion.json]

Each step in a process of its own, as the pipeline runs it. Memory is the step's peak beyond what its imports take.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

BACKENDS = ("onnx", "fil", "native")


def train(folder: Path, trees: int, depth: int) -> dict[str, Path]:
    import catboost
    import xgboost

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(8000, 30)).astype(np.float32)
    label = np.sin(rows[:, 0] * 3) + rows[:, 1] * rows[:, 2] + rng.normal(size=len(rows))
    settings = {"max_depth": depth, "tree_method": "hist", "min_child_weight": 0}
    booster = xgboost.train(settings, xgboost.DMatrix(rows, label=label), trees)
    booster.save_model(folder / "xgboost.ubj")
    booster.save_model(folder / "xgboost.json")
    quiet = {"verbose": 0, "allow_writing_files": False}
    symmetric = catboost.CatBoostRegressor(iterations=trees, depth=depth, **quiet).fit(rows, label)
    symmetric.save_model(str(folder / "catboost.cbm"))
    return {path.name: path for path in sorted(folder.iterdir())}


def step(model: str, folder: str, backend: str) -> None:
    """In a process of its own: load, lower, or build one backend. Prints JSON."""
    import os

    from millwork.compile import compile_steps
    from millwork.compile.backends import table

    # Imports, which aren't the work.
    for name in BACKENDS if backend in BACKENDS else ():
        table.find(name)

    if backend == "load" and model.endswith(".cbm"):
        import catboost  # noqa: F401

    os.chdir(folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on: what ran before would count otherwise
    before = _peak_kb()
    start = time.perf_counter()
    if backend == "load":
        loaded = compile_steps.load(compile_steps.LoadRequest(path=model))
        Path("signature.json").write_bytes(msgspec.json.encode(loaded.signature))
    elif backend == "lower":
        compile_steps.lower(compile_steps.LowerRequest(program=str(Path(folder) / "program.npz")))
    else:
        signature = msgspec.json.decode(Path("signature.json").read_bytes(), type=compile_steps.Signature)
        into = Path(folder) / backend
        into.mkdir()
        os.chdir(into)
        request = compile_steps.BuildRequest(
            backend=backend,
            lowered=str(Path(folder) / "lowered.npz"),
            native=str(Path(folder) / signature.oracle.native_file),
            signature=signature,
            release="25.12",
        )
        reply = compile_steps.build(request)
        assert reply.artifact is not None, reply.unsupported
    seconds = time.perf_counter() - start
    peak = _peak_kb() - before
    print(json.dumps({"seconds": seconds, "peak_mb": peak / 1024}))


def _peak_kb() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trees", type=int, default=2000)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--step", nargs=3, metavar=("MODEL", "FOLDER", "WHAT"))
    asked = parser.parse_args()
    if asked.step:
        step(*asked.step)
        return 0
    results = []
    print(f"{'model':16}{'step':8}{'seconds':>9}{'peak MB':>9}{'model MB':>10}{'artifact MB':>13}")
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in train(Path(scratch), asked.trees, asked.depth).items():
            folder = Path(scratch) / f"{name}-work"
            folder.mkdir()
            for what in ("load", "lower", *BACKENDS):
                command = [sys.executable, __file__, "--step", str(path), str(folder), what]
                done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                artifact = sum(f.stat().st_size for f in (folder / what).glob("*"))
                done |= {
                    "model": name,
                    "step": what,
                    "model_mb": path.stat().st_size / 2**20,
                    "artifact_mb": artifact / 2**20,
                }
                results.append(done)
                print(
                    f"{name:16}{what:8}{done['seconds']:9.2f}{done['peak_mb']:9.0f}{done['model_mb']:10.1f}"
                    f"{done['artifact_mb']:13.1f}"
                )
    if asked.out:
        document = {
            "trees": asked.trees,
            "depth": asked.depth,
            "machine": platform.machine(),
            "python": platform.python_version(),
            "steps": results,
        }
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
