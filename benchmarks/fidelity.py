"""Every case of the torture suite through our backends and the public converters: who gives the framework's answers?

    python benchmarks/fidelity.py [--paths onnxmltools,treelite,…] [--out benchmarks/results/fidelity.json]

Writes docs/fidelity.md too. Each public path runs in an environment of its own, made in the user's cache folder. Right:
within 2e-6 absolute or 1e-5 relative of the framework on every row, for the public paths; ours are judged by the gate,
leaf by leaf. Rows: the case's own and adversarial ones, but for those that hold an infinity.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models.gate import Gate, gate  # noqa: E402
from models.torture import CASES  # noqa: E402

from millwork import environments  # noqa: E402
from millwork.compile.backends import table as backends  # noqa: E402

PATHS = {
    "onnxmltools": ("onnxmltools", ["onnxmltools==1.16.0", "skl2onnx==1.20.0", "onnx", "onnxruntime",
                                    "xgboost-cpu==3.2.0", "scikit-learn", "numpy"]),
    "catboost-onnx": ("CatBoost's ONNX", ["catboost==1.2.10", "onnxruntime", "numpy"]),
    "treelite": ("Treelite", ["treelite==4.8.1", "numpy", "scipy"]),
    "tl2cgen": ("tl2cgen", ["tl2cgen==1.0.0", "treelite==4.8.1", "numpy", "scipy"]),
    "hummingbird": ("Hummingbird", ["hummingbird-ml==0.4.12", "torch==2.13.0", "xgboost-cpu==3.2.0", "scikit-learn<1.8",
                                    "pandas", "setuptools<80"]),
}  # fmt: skip
PAGE = ROOT / "docs" / "fidelity.md"

INTRODUCTION = """# Fidelity

**In short.** We put every kind of XGBoost and CatBoost model that we know of through each backend of ours and each
public converter. Our backends were never wrong: what they can't do they refuse by name. No public converter got every
kind right, and each was wrong for some without a word.
"""
LEGEND = """This page is written by `python benchmarks/fidelity.py`. `tests/fidelity` runs our part of it at each
change.

- **✓** the framework's answers on every row. Rows are made from the model's own thresholds and taken from its training
  rows. Of ours, the same leaf in every tree as well.
- **✗** wrong numbers without a word, and on how many of the rows.
- **refused** with an error.
- An empty cell: not for this framework.
"""
CODA = """A `fil` candidate with an encoder ahead of the trees (a missing sentinel, categories of its own) is served by
Triton's python backend with the same tensors. Without one the FIL backend itself serves it.
"""
COMPARED = {
    "xgboost": ("onnxmltools", "treelite", "tl2cgen", "hummingbird"),
    "catboost": ("catboost-onnx",),
}
"""The public converters that are meant for each framework."""
TITLES = {"xgboost": "XGBoost", "catboost": "CatBoost"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--paths", default=",".join(PATHS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "fidelity.json")
    asked = parser.parse_args()
    results: dict[str, dict[str, str]] = {name: {} for name in CASES}
    with tempfile.TemporaryDirectory() as scratch:
        cases = Path(scratch) / "cases"
        cases.mkdir()
        for number, name in enumerate(CASES):
            results[name] |= ours(name, cases / f"{number:03d}")
            print(f"{name}: {results[name]}", flush=True)
        for path in asked.paths.split(","):
            print(f"{path} …", flush=True)
            for name, said in peer(path, cases, Path(scratch)).items():
                results[name][path] = said
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(results))
    print(summary(results))
    return 0


def ours(name: str, folder: Path) -> dict[str, str]:
    """What each backend of ours makes of the case, whose files are left in ``folder`` for the others."""
    folder.mkdir()
    case = CASES[name](folder)
    judged = gate(case.model, folder / "gate", data=case.data, limit=1500)
    said = {}
    for backend in backends.ON_CPU:
        reply = judged.build(backend, folder / backend)
        if reply.artifact is None:
            said[backend] = f"refused: {reply.unsupported}"
            continue
        verdict = judged.check(reply.artifact, folder / backend)
        said[backend] = "right" if verdict.passed else f"wrong: {verdict.reason}"
    _leave(name, judged, case.model, folder)
    return said


def _leave(name: str, judged: Gate, model: Path, folder: Path) -> None:
    finite = ~np.isinf(judged.rows).any(axis=1)
    np.save(folder / "rows.npy", judged.rows[finite])
    np.save(folder / "answers.npy", judged.answers[finite])
    native = judged.signature.oracle.native_file
    shutil.copyfile(judged.native, folder / native)
    meta = {
        "name": name,
        "framework": judged.signature.oracle.framework,
        "native": native,
        "format": judged.signature.oracle.parameters.get("format", ""),
        "pickle": model.name if model.suffix == ".pkl" else "",
        "json": _as_json(judged, folder),
        "classifier": judged.signature.output.task in ("binary", "multiclass", "multilabel"),
        "categories": judged.given.categories is not None,
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def _as_json(judged: Gate, folder: Path) -> str:
    """XGBoost's own JSON of the model, which every reader of the others takes."""
    if judged.signature.oracle.framework != "xgboost":
        return ""
    import xgboost

    xgboost.Booster(model_file=str(judged.native)).save_model(folder / "booster.json")
    return "booster.json"


def peer(path: str, cases: Path, scratch: Path) -> dict[str, str]:
    made = environments.ensure(f"fidelity-{path}", PATHS[path][1], lambda text: print("  ", text))
    out = scratch / f"{path}.json"
    script = Path(__file__).with_name("fidelity_peers.py")
    with contextlib.suppress(subprocess.CalledProcessError):
        subprocess.run(
            [str(made.python), str(script), path, str(cases), str(out)],
            check=True,
            stdout=subprocess.DEVNULL,
            env={
                "PYTHONPATH": str(ROOT / "tests"),
                "PATH": f"{made.python.parent}:{os.environ['PATH']}",
                "HOME": str(scratch),
            },
        )
    return json.loads(out.read_text()) if out.exists() else {}


def _counts(results: dict[str, dict[str, str]], framework: str, column: str) -> tuple[int, int, int]:
    said = [row.get(column, "none") for name, row in results.items() if name.startswith(framework)]
    return tuple(sum(text.startswith(kind) for text in said) for kind in ("right", "wrong", "refused"))  # type: ignore[return-value]


def summary(results: dict[str, dict[str, str]]) -> str:
    lines = []
    for framework in ("xgboost", "catboost"):
        total = sum(name.startswith(framework) for name in results)
        for column in (*backends.ON_CPU, *PATHS):
            right, wrong, refused = _counts(results, framework, column)
            if right + wrong + refused:
                lines.append(f"{framework:10}{column:16}{right:4} of {total} right, {wrong} wrong, {refused} refused")
    return "\n".join(lines)


def page(results: dict[str, dict[str, str]]) -> str:
    """docs/fidelity.md."""
    parts = [INTRODUCTION, *in_short(results), LEGEND]
    for framework, title in TITLES.items():
        columns = (*_ours(results), *COMPARED[framework])
        rows = {name: row for name, row in results.items() if name.startswith(framework)}
        parts.append(f"## {title}\n")
        parts.append(f"| case | {' | '.join(map(_head, columns))} |\n|---|{'---|' * len(columns)}")
        parts += [
            f"| {name.partition(': ')[2]} | {' | '.join(_cell(row.get(column, '')) for column in columns)} |"
            for name, row in rows.items()
        ]
        totals = [f"{_counts(results, framework, column)[0]} of {len(rows)}" for column in columns]
        parts.append(f"| **right** | {' | '.join(totals)} |\n")
    parts.append(CODA)
    return "\n".join(parts)


def in_short(results: dict[str, dict[str, str]]) -> list[str]:
    """How many kinds each gets right, gets wrong without a word, and refuses."""
    lines = ["| | of | right | wrong without a word | refused |", "|---|---|---|---|---|"]
    for framework, title in TITLES.items():
        kinds = sum(name.startswith(framework) for name in results)
        for column in (*_ours(results), *COMPARED[framework]):
            right, wrong, refused = _counts(results, framework, column)
            lines.append(f"| {_head(column)} | {kinds} kinds of {title} | {right} | {wrong} | {refused} |")
    return [*lines, ""]


def _ours(results: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Our backends that have results."""
    return tuple(name for name in backends.ON_CPU if any(name in row for row in results.values()))


def _head(column: str) -> str:
    return PATHS[column][0] if column in PATHS else f"`{column}`"


def _cell(said: str) -> str:
    if said.startswith("wrong"):
        detail = said.partition(": ")[2]
        return f"✗ {detail.removesuffix(' of rows')}" if detail.endswith("of rows") else "✗ shape"
    return {"right": "✓", "refus": "refused"}.get(said[:5], "")


if __name__ == "__main__":
    sys.exit(main())
