"""What trees.py has found, told: tables, the targets, and its section of docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pages

OWN, LIBRARY = "millwork", "millwork-library"
NAMES = {
    "xgboost": "XGBoost", "catboost": "CatBoost", "onnxruntime": "ONNX Runtime", "onedal": "oneDAL",
    "treelite": "Treelite (GTIL)", "tl2cgen": "tl2cgen", "tl2cgen-library": "tl2cgen, from C",
    "nvforest": "nvForest (CPU)", OWN: "**native**", LIBRARY: "**native, from C**",
    "millwork-avx512": "native, from C: AVX-512", "millwork-avx2": "native, from C: AVX2",
    "millwork-portable": "native, from C: portable",
}  # fmt: skip
MAIN = "xgboost 500x6x50"
Document = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Least:
    """The smallest of many ratios, and where it is."""

    ratio: tuple[float, float, float]
    peer: str
    forest: str
    batch: int

    def __str__(self) -> str:
        return f"{_times(self.ratio)} {plain(self.peer)}, {self.forest}, {_rows(self.batch)}"


@dataclass(frozen=True)
class Target:
    what: str
    found: str
    met: bool | None
    """None: what it is about wasn't measured."""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "short", None: "not measured"}[self.met]


def plain(engine: str) -> str:
    return NAMES[engine].replace("*", "")


def _times(ratio: Any) -> str:
    number, low, high = ratio
    return f"{number:.2f}x ({low:.2f} to {high:.2f})"


def _rows(batch: int) -> str:
    return f"{batch:,} row{'s' if batch > 1 else ''}"


# ── the targets ───────────────────────────────────────────────────────────────────────────────────────────


def best(cell: Cell) -> Least | None:
    """The fastest peer over ours: by the calls in Python, for one row by our library's call alone and any call."""
    ratios = cell["library"] if cell["batch"] == 1 else cell["python"]
    peers = [
        Least(tuple(ratio), name, cell["forest"], cell["batch"])
        for name, ratio in ratios.items()
        if not name.startswith(OWN) and (name != "tl2cgen-library" or cell["batch"] == 1)
    ]
    return min(peers, key=lambda found: found.ratio[0], default=None)


def weakest(document: Document, framework: str) -> list[Least]:
    """Of each forest and batch the best peer, the one that is nearest to ours first."""
    cells = [cell for cell in document["cells"] if cell["forest"].startswith(framework)]
    return sorted((found for cell in cells if (found := best(cell))), key=lambda found: found.ratio[0])


def targets(document: Document) -> list[Target]:
    at = {(cell["forest"], cell["batch"]): cell for cell in document["cells"]}
    batch = at.get((MAIN, 4096), {"python": {}, "us": {}})
    one = at.get((MAIN, 1), {"library": {}, "us": {}})
    symmetric = [
        Least(tuple(cell["python"]["catboost"]), "catboost", cell["forest"], cell["batch"])
        for cell in document["cells"]
        if "catboost" in cell["python"]
    ]
    first = best(one) if one["us"] else None
    single = [cell for cell in weakest(document, "xgboost") if cell.batch == 1]
    us = one["us"].get(LIBRARY)
    return [
        *(_peer(batch, name, factor) for name, factor in (("xgboost", 10), ("onnxruntime", 25), ("onedal", 4))),
        _least("every XGBoost forest and batch: 2x the best peer", weakest(document, "xgboost"), 2),
        _least("every CatBoost forest and batch: 1.5x CatBoost's own evaluator", symmetric, 1.5),
        _least(f"one row, {MAIN}: the library alone 4x the best peer", [first] if first else [], 4),
        _least("one row, every XGBoost forest: the same", single, 4),
        Target(f"one row, {MAIN}: the library alone below 2 µs", f"{us[0]:.2f} µs" if us else "", us and us[0] < 2),
        *_narrower(document, batch),
        *_threads(document),
    ]


def _peer(cell: Cell, peer: str, factor: float) -> Target:
    ratio = cell["python"].get(peer)
    what = f"4,096 rows, {MAIN}: {factor}x {plain(peer)}"
    return Target(what, _times(ratio) if ratio else "", ratio and ratio[0] >= factor)


def _least(what: str, found: list[Least], factor: float) -> Target:
    least = min(found, key=lambda each: each.ratio[0], default=None)
    return Target(what, str(least or ""), None if least is None else least.ratio[0] >= factor)


def _narrower(document: Document, main: Cell) -> list[Target]:
    """AVX2's speed as a share of AVX-512's."""
    shares = [
        (cell["us"]["millwork-avx512"][0] / cell["us"]["millwork-avx2"][0], cell)
        for cell in document["cells"]
        if {"millwork-avx512", "millwork-avx2"} <= set(cell["us"])
    ]
    here = next((share for share, cell in shares if cell is main), None)
    least, cell = min(shares, key=lambda pair: pair[0], default=(None, main))
    where = f"{least:.2f}: {cell['forest']}, {_rows(cell['batch'])}" if least else ""
    half = f"4,096 rows, {MAIN}: AVX2 half of AVX-512's speed"
    return [
        Target(half, f"{here:.2f}" if here else "", here and here >= 0.5),
        Target("every forest and batch: the same", where, least and least >= 0.5),
    ]


def _threads(document: Document) -> list[Target]:
    here = next((line["faster"] for line in document["threads"] if line["forest"] == MAIN), None)
    least = min(document["threads"], key=lambda line: line["faster"][0], default=None)
    where = f"{_times(least['faster'])}, {least['forest']}" if least else ""
    return [
        Target(f"4,096 rows, {MAIN}: two threads 1.8x one", _times(here) if here else "", here and here[0] >= 1.8),
        Target("4,096 rows, every forest: the same", where, least and least["faster"][0] >= 1.8),
    ]


# ── the terminal ──────────────────────────────────────────────────────────────────────────────────────────


def line(cell: Cell) -> str:
    medians = " ".join(f"{name} {us[0]:.4g}" for name, us in sorted(cell["us"].items(), key=lambda pair: pair[1][0]))
    return f"{cell['forest']}, {_rows(cell['batch'])}: µs a call: {medians}"


def tables(document: Document) -> str:
    """For each forest a call's microseconds by engine and batch."""
    return "\n".join(_by_engine(document, entry["name"]) for entry in document["forests"])


def judgement(document: Document) -> str:
    lines = ["", "targets:"]
    lines += [f"  {target.verdict:12} {target.what}: {target.found}" for target in targets(document)]
    for framework in ("xgboost", "catboost"):
        found = weakest(document, framework)[:5]
        lines += [f"weakest on {framework}:", *(f"  {least}" for least in found)] if found else []
    lines += [f"without {name}: {reason}" for name, reason in document["refused"].items()]
    return "\n".join(lines)


# ── the page ──────────────────────────────────────────────────────────────────────────────────────────────

INTRODUCTION = """## The forest kernel beside other engines

`native` against every engine that we know of, one thread each. Every engine is a process of its own on the same core,
with the same forest and rows; they take turns, so that one is at work at any time, and rounds go to and fro. Nothing
is timed before its answers are the framework's: our margins to the bit (CatBoost's, which are float64, to their last
digits), a peer's within float32's rounding. Medians of calls; in brackets 95% intervals, of rounds drawn anew.

A peer is called as its user calls it in Python, and so is ours; "from C" is a library's call alone, in a C loop.
tl2cgen's C is compiled by gcc -O3, and its rows are made ready for it untimed. nvForest runs with what its own
`optimize` chooses. ONNX Runtime runs our own `onnx` artifact. Synthetic forests are regressions on normal numbers, so
that nothing but trees is timed; *flights* are the demo's two classifiers, on real flights. `500x6x50` is 500 trees of
depth 6 on 50 features, `NaN`: a tenth of the values is missing. Batches below 1,024 rows go through 1,024 rows in turn.
"""


def into_page(page: str, document: Document) -> str:
    """The page with its section written again; what stands around it stays."""
    return pages.replaced(page, "trees", section(document))


def section(document: Document) -> str:
    machine = document["machine"]
    versions = document["versions"]
    engines = ", ".join(f"{plain(name)} {versions[name]}" for name in NAMES if name in versions and "-" not in name)
    names = [entry["name"] for entry in document["forests"]]
    shown = [name for name in (MAIN, "catboost 500x6x50") if name in names] or names[:1]
    parts = [
        INTRODUCTION,
        f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), Python {machine['python']}.",
        f"{engines}.",
        "\n### Targets\n",
        "| | found | |\n|---|---|---|",
        *(f"| {target.what} | {target.found} | {target.verdict} |" for target in targets(document)),
        "\n### Times faster than the fastest peer\n",
        "For one row our library's call alone beside any call of a peer; from four rows on the calls in Python.\n",
        _by_forest(document),
        *(f"\n### {name}: a call's microseconds\n\n{_by_engine(document, name)}" for name in shown),
        *_absent(document),
        f"\nWritten by `python benchmarks/trees.py` (about {document['seconds']:g} s a forest and batch); all numbers",
        "are in [trees.json](../benchmarks/results/trees.json).\n",
    ]
    return "\n".join(parts)


def _by_forest(document: Document) -> str:
    batches = sorted({cell["batch"] for cell in document["cells"]})
    at = {(cell["forest"], cell["batch"]): best(cell) for cell in document["cells"]}
    heads = " | ".join(map(_rows, batches))
    lines = [f"| forest | nodes | {heads} |", f"|---|---|{'---|' * len(batches)}"]
    for entry in document["forests"]:
        found = [at.get((entry["name"], batch)) for batch in batches]
        cells = [f"{least.ratio[0]:.1f} {plain(least.peer)}" if least else "" for least in found]
        lines.append(f"| {entry['name']} | {entry['nodes']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_engine(document: Document, forest: str) -> str:
    cells = {cell["batch"]: cell for cell in document["cells"] if cell["forest"] == forest}
    lines = [f"| {forest} | {' | '.join(_rows(batch) for batch in cells)} |", f"|---|{'---|' * len(cells)}"]
    for name, shown in NAMES.items():
        row = [_us(cell, name) for cell in cells.values()]
        if any(row):
            lines.append(f"| {shown} | {' | '.join(row)} |")
    return "\n".join(lines)


def _us(cell: Cell, name: str) -> str:
    if name in cell["us"]:
        us = cell["us"][name][0]
        return f"{us:,.0f}" if us >= 100 else f"{us:.3g}"
    return f"(about {cell['left_out_s'][name] * 1e6:,.0f})" if name in cell["left_out_s"] else ""


def _absent(document: Document) -> list[str]:
    lines = [f"- {plain(name)}: {reason}" for name, reason in document["refused"].items()]
    reasons: dict[tuple[str, str], list[str]] = {}
    for entry in document["forests"]:
        for name, reason in entry["without"].items():
            reasons.setdefault((name, reason), []).append(entry["name"])
    lines += [f"- {plain(name)} on {', '.join(where)}: {reason}" for (name, reason), where in reasons.items()]
    return ["\n### What didn't run\n", *lines] if lines else []
