"""The section of docs/performance.md about the tuner, from what tuning.py and model_analyzer.py have written.

python benchmarks/tuning_report.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import pages
from tuning import NAMES, RESULTS, TRAFFIC

WANTED_OF_GRID, WANTED_OF_DEFAULT = 0.95, 1.7
MOST_S, MOST_TRIALS = 90, 12


def main() -> None:
    document = json.loads((RESULTS / "tuning.json").read_text())
    theirs = RESULTS / "model_analyzer.json"
    analyzer = json.loads(theirs.read_text()) if theirs.exists() else None
    pages.put("tuning_report", section(document, analyzer))


def section(document: dict[str, Any], analyzer: dict[str, Any] | None) -> str:
    cells = sorted(document["cells"], key=lambda cell: (NAMES.index(cell["model"]), TRAFFIC.index(cell["asked"])))
    lines = [
        f"On {document['machine']}, the clients on the same cores; rows a second and p99 in µs, medians of 8 rounds,",
        "interleaved. *Default*: the ONNX model as Triton serves it where nothing is said. *Grid*: the best of an",
        "exhaustive grid (instances, threads, batching, delay, backend). *Chosen*: by the tuner, from nothing. For the",
        "mix, an open loop at 60% of what the default can do, merit is p99 and not throughput.",
        "",
        "| model | traffic | default | grid | chosen | settings | of the grid's (95%) | of the default's | search |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(line, cells),
        "",
        *verdicts(cells),
        *anew([cell for cell in cells if "anew" in cell]),
    ]
    for cell in cells:
        if len(cell["tuned"]) > 1:
            lines += ["", repeated(cell)]
    if analyzer:
        lines += ["", *beside(analyzer)]
    return "\n".join(lines)


def line(cell: dict[str, Any]) -> str:
    own = cell["tuned"][0]
    low, high = own["to_grid_ci"]
    return (
        f"| {cell['model']} | {cell['traffic']} | {pair(cell['default'])} | {pair(cell['grid'])} | {pair(own)} "
        f"| {own['words']} | {own['to_grid']:.2f} ({low:.2f} to {high:.2f}) | {own['to_default']:.1f} "
        f"| {own['trials']} trials, {own['seconds']:.0f} s |"
    )


def pair(figures: dict[str, Any]) -> str:
    return f"{figures['rows_per_s']:,.0f}, {figures['p99_us']:,.0f}"


def verdicts(cells: Sequence[dict[str, Any]]) -> list[str]:
    """What was asked, and how many cells have it."""
    own = [cell["tuned"][0] for cell in cells]
    near = sum(one["to_grid"] >= WANTED_OF_GRID for one in own)
    worse = sum(one["to_grid_ci"][1] < WANTED_OF_GRID for one in own)
    busy = [c for c in cells if c["asked"] in ("batch=1 clients=8", "batch=1 clients=32", "batch=64 clients=4")]
    better = sum(
        c["tuned"][0]["to_default"] >= WANTED_OF_DEFAULT and c["tuned"][0]["p99_us"] <= c["default"]["p99_us"]
        for c in busy
    )
    quick = sum(one["seconds"] <= MOST_S and one["trials"] <= MOST_TRIALS for one in own)
    asked = f"at least {WANTED_OF_DEFAULT} times the default's throughput at no worse p99"
    return [
        f"- within 5% of the grid's best, by the median: {near} of {len(cells)}; worse than that beyond noise: {worse}",
        f"- 8 and 32 clients, batch 64: {better} of {len(busy)} have {asked}",
        f"- at most {MOST_TRIALS} trials and {MOST_S} s: {quick} of {len(cells)}",
    ]


def anew(cells: Sequence[dict[str, Any]]) -> list[str]:
    """What two loads of one configuration differ by, beside what the choice and the grid's best do."""
    if not cells:
        return []
    lines = [
        "",
        f"Cells of which the choice had least were compared again (`--servers {len(cells[0]['anew']['to_grid'])}`), on",
        "servers that were each started anew, with the grid's best loaded twice on each: what those two differ by is",
        "what a comparison of one load with another can't see. Medians over the servers, and the range:",
        "",
        "| model | traffic | choice over the grid's best | the grid's best over itself |",
        "|---|---|---|---|",
    ]
    return [
        *lines,
        *(
            f"| {cell['model']} | {cell['traffic']} | {spread(cell['anew']['to_grid'])} "
            f"| {spread(cell['anew']['grid_to_itself'])} |"
            for cell in cells
        ),
    ]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def repeated(cell: dict[str, Any]) -> str:
    """Runs of the tuner one after the other, two and two."""
    pairs = cell["pairs"]
    same = sum(one["same"] or one["low"] <= 1 <= one["high"] for one in pairs)
    words = sorted({one["words"] for one in cell["tuned"]})
    return (
        f"The tuner run {len(cell['tuned'])} times for {cell['model']}, {cell['traffic']}: of {len(pairs)} pairs of "
        f"runs, one after the other, {same} chose configurations that can't be told apart beyond noise "
        f"({len(words)} configurations in all: {'; '.join(words)})."
    )


def beside(analyzer: dict[str, Any]) -> list[str]:
    found = [
        f"Triton Model Analyzer {analyzer['version']} (quick search, local mode, the managed Triton) searches one",
        "model's configuration, here that of the ONNX model in the python backend:",
        "",
        "| model, traffic | who chose | configuration | rows/s, p99 µs | merit of Model Analyzer's (95%) | search |",
        "|---|---|---|---|---|---|",
    ]
    for cell in analyzer["cells"]:
        for name, own in cell["choices"].items():
            low, high = own["to_model_analyzer_ci"]
            count = f", {cell['model_analyzer_configurations']} configurations" if name == "Model Analyzer" else ""
            found.append(
                f"| {cell['model']}, {cell['traffic']} | {name} | {own['words']} | {pair(own)} "
                f"| {own['to_model_analyzer']:.2f} ({low:.2f} to {high:.2f}) | {own['search_s']:.0f} s{count} |"
            )
    return found


if __name__ == "__main__":
    main()
