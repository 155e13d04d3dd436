"""Everything of millwork's that only a GPU can run: right first, then how fast.

    python benchmarks/gpu/run.py [--models FOLDER] [--out FILE.json] [--parts a,b] [--batches 1,64,…]
                                 [--tritonserver PATH] [--rehearse]

Needs python, numpy and what it is given: an engine that isn't installed is "not measured", with the reason, and the
rest goes on. FOLDER is make_models.py's (models/ beside the checkout where it isn't said). Prints a short table last
and writes JSON with the GPU, driver and versions. ``--rehearse``: the same code by the engines' CPU forms, to see that
it runs; its figures are no GPU's and say so.

Exit code: 0 what was measured is right (nothing, too); 1 an answer or a leaf is wrong, or an engine failed; 2 usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import engines
from engines import SOURCE, Model, NotMeasuredError
from parts import PARTS, Asked, Line

BATCHES = (1, 16, 64, 256, 1024, 4096, 65_536, 1_048_576)
REHEARSED = (1, 64)
VERSIONS = (
    "numpy", "cuda-bindings", "cupy-cuda13x", "nvforest-cu13", "treelite", "onnxruntime-gpu", "onnxruntime", "torch",
    "tensorrt", "tensorrt-rtx-cu13", "nvidia-ml-py",
)  # fmt: skip


def models_of(folder: Path) -> list[Model]:
    found = []
    for card in sorted(folder.glob("*/card.json")):
        with np.load(card.parent / "expected.npz", allow_pickle=False) as arrays:
            found.append(
                Model(card.parent, json.loads(card.read_text()), {name: arrays[name] for name in arrays.files})
            )
    return found


def seen(rehearse: bool) -> tuple[str, list[dict[str, Any]], str]:
    """``cuda``, ``cpu`` or nothing; the GPUs as nvidia-smi tells them; why there is none."""
    try:
        told = subprocess.run(
            [
                "nvidia-smi",
                "--query-gpu=name,driver_version,compute_cap,memory.total,mig.mode.current",
                "--format=csv,noheader,nounits",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        names = ("name", "driver", "compute_capability", "memory_mib", "mig")
        gpus = [
            dict(zip(names, (part.strip() for part in line.split(",")), strict=False)) for line in told.splitlines()
        ]
    except (OSError, subprocess.SubprocessError) as error:
        gpus, why = [], f"no GPU here: nvidia-smi: {type(error).__name__}"
    else:
        why = "" if gpus else "no GPU here: nvidia-smi lists none"
    return ("cpu" if rehearse else "cuda" if gpus else ""), gpus, why


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=SOURCE / "models")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--batches", default="")
    parser.add_argument("--tritonserver", default="")
    parser.add_argument("--rehearse", action="store_true")
    given = parser.parse_args(arguments)
    wanted = [name for name in given.parts.split(",") if name]
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}: expected some of {', '.join(PARTS)}")
    where, gpus, why = seen(given.rehearse)
    batches = tuple(int(size) for size in given.batches.split(",") if size) or (
        BATCHES if where == "cuda" else REHEARSED
    )
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as scratch:
        watched = engines.runner("gpu_watch").watch() if where == "cuda" else None
        asked = Asked(models_of(given.models), batches, where, Path(scratch), given.tritonserver, watched)
        for name in wanted:
            lines += _part(name, asked, why)
    document = {
        "rehearsal": given.rehearse,
        "gpus": gpus,
        "machine": platform.machine(),
        "versions": versions(),
        "lines": [dataclasses.asdict(line) for line in lines],
        "compared": compared(lines),
    }
    given.out.write_text(json.dumps(document, indent=1))
    print(table(lines, rehearsal=given.rehearse))
    return 1 if any(line.state in ("wrong", "failed") for line in lines) else 0


def _part(name: str, asked: Asked, why: str) -> list[Line]:
    if not asked.device:
        return [Line(name, name, why=why)]
    found: list[Line] = []
    try:
        for line in PARTS[name](asked):
            print(
                f"{line.part}: {line.engine}, {line.model}: {line.state} {line.why or line.notes}",
                file=sys.stderr,
                flush=True,
            )
            found.append(line)
    except NotMeasuredError as error:
        found.append(Line(name, name, why=str(error)))
    except Exception as error:  # noqa: BLE001 - as for an engine: the other parts go on
        found.append(Line(name, name, state="failed", why=f"{type(error).__name__}: {str(error).strip()[:300]}"))
    return found


def compared(lines: list[Line], mine: str = "native-cuda", peer: str = "nvforest") -> list[dict[str, Any]]:
    """How many times the peer's speed ours is, for each model and batch that both have figures of: rows on the GPU
    already, medians, the best work of each; nvForest's best tuning for the batch."""
    best: dict[tuple[str, str, int], float] = {}
    for line in lines:
        for figure in line.figures:
            key = (line.part, line.model, figure["batch"])
            best[key] = min(best.get(key, float("inf")), figure["run_p50_us"])
    return [
        {"model": model, "batch": batch, "times": best[peer, model, batch] / us, "of": peer}
        for (part, model, batch), us in sorted(best.items())
        if part == mine and (peer, model, batch) in best
    ]


def table(lines: list[Line], *, rehearsal: bool) -> str:
    """A line an engine and model, and one for each of its measurements."""
    out = ["REHEARSAL on a CPU: no figure is a GPU's"] if rehearsal else []
    for line in lines:
        head = " ".join(part for part in (line.engine or line.part, line.model) if part)
        checked = line.parity.get("leaf_mismatches")
        leaves = f", {checked} wrong leaves" if checked is not None else ""
        known = (
            f" ({line.parity['rows']} rows{leaves}, within {line.parity['max_abs']:.1e})"
            if "rows" in line.parity
            else ""
        )
        out.append(f"{head:40} {line.state}{known}{': ' + line.why if line.why else ''}")
        for one in line.figures:
            p99 = f", p99 {one['run_p99_us']:,.1f}" if one.get("run_p99_us") is not None else ""
            out.append(
                f"  {one['work']:10} batch {one['batch']:>9,}: run {one['run_p50_us']:,.1f} us{p99}; copies "
                f"{one['in_p50_us']:,.1f} + {one['out_p50_us']:,.1f} us; {one['rows_per_s']:,.0f} rows/s"
                f"{'  SLOWED: ' + one['slowed'] if one['slowed'] else ''}"
            )
    out += [
        f"native-cuda, {one['model']}, batch {one['batch']:,}: {one['times']:.2f} times {one['of']}'s speed"
        for one in compared(lines)
    ]
    return "\n".join(out)


if __name__ == "__main__":
    sys.exit(main())
