"""The candidates of the demo's models side by side: XGBoost and CatBoost themselves, ONNX Runtime, Treelite.

    python benchmarks/candidates.py [--batch 1,64,4096] [--threads 1]

Trains the models of examples/flights.py (once, into benchmarks/.models), judges and times every candidate in one
process, interleaved, and writes benchmarks/results/candidates.json. Ratios of medians to the framework's own time.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
MODELS = HERE / ".models"
RESULTS = HERE / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", default="1,64,4096")
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    documents = {path.name: bench(path, options.batch, options.threads) for path in models()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "candidates.json").write_text(json.dumps(documents, indent=1) + "\n")
    for name, document in documents.items():
        table(name, document)


def models() -> list[Path]:
    """flights.pkl and flights-catboost.cbm, trained where they aren't there yet."""
    paths = [MODELS / "flights.pkl", MODELS / "flights-catboost.cbm"]
    if not all(path.exists() for path in paths):
        MODELS.mkdir(exist_ok=True)
        flights = demo()
        train = flights.join_flights()
        train.iloc[-60_000:].to_parquet(MODELS / "rows.parquet", index=False)
        paths[0].write_bytes(pickle.dumps(flights.xgboost_model(train.iloc[:-60_000])))
        flights.catboost_model(train.iloc[:-60_000]).save_model(str(paths[1]))
    return paths


def demo() -> ModuleType:
    """examples/flights.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("flights", HERE.parent / "examples" / "flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bench(model: Path, batch: str, threads: str) -> dict[str, Any]:
    """``millwork bench`` on the held-out flights: the document of --json."""
    program = Path(sys.executable).with_name("millwork")
    rows = MODELS / "rows.parquet"
    command = [program, "bench", model, "--data", rows, "--batch", batch, "--threads", threads, "--json"]
    document: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return document


def table(name: str, document: dict[str, Any]) -> None:
    print(f"\n{name} on {document['target']['measured_on']}: a call's p50 in µs, and times faster than the framework")
    timed = [c for c in document["candidates"] if c["latency"]]
    own = {line["batch"]: line["p50_us"] for c in timed if c["backend"] == "reference" for line in c["latency"]}
    for candidate in timed:
        cells = [
            f"{line['p50_us']:>10.1f} ({own[line['batch']] / line['p50_us']:.1f}x)" for line in candidate["latency"]
        ]
        print(f"{candidate['id']:>16}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
