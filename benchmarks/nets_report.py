"""What nets.py has found, told: tables, the targets, and its section of docs/performance.md."""

from __future__ import annotations

from typing import Any

import pages

OURS = ("fp32", "fp16", "int8")
PEERS = ("torch", "aotinductor", "openvino-fp32", "openvino-int8")
NAMES = {
    "torch": "torch, eager", "aotinductor": "AOTInductor", "fp32": "**onnx fp32**", "fp16": "**onnx fp16**",
    "int8": "**onnx int8**", "openvino-fp32": "OpenVINO fp32", "openvino-int8": "OpenVINO int8",
}  # fmt: skip
EAGER = 2.0
"""Times eager torch at one row, on every net."""
Document = dict[str, Any]
Cell = dict[str, Any]


def winner(cell: Cell) -> str:
    """The fastest of ours."""
    return min((name for name in OURS if name in cell["us"]), key=lambda name: cell["us"][name][0])


def best_peer(cell: Cell) -> str:
    return min((name for name in PEERS if name in cell["us"]), key=lambda name: cell["us"][name][0])


def targets(document: Document) -> list[tuple[str, str, bool | None]]:
    """What, what was found, and whether it is met; None where it wasn't measured."""
    ones = [cell for cell in document["cells"] if cell["batch"] == 1]
    eager = [(cell["ratios"][winner(cell)]["torch"], cell["net"]) for cell in ones]
    least = min(eager, default=None)
    peers = [(cell, best_peer(cell), cell["ratios"][winner(cell)][best_peer(cell)]) for cell in document["cells"]]
    slower = [
        f"{cell['net']}, {_rows(cell['batch'])}: {_times(ratio)} {plain(peer)}"
        for cell, peer, ratio in peers
        if ratio[2] < 1
    ]
    return [
        (
            f"one row, every net: {EAGER:g}x eager torch",
            f"{_times(least[0])}, {least[1]}" if least else "",
            least and least[0][0] >= EAGER,
        ),
        (
            "every net and batch: the fastest of ours never slower than the best peer beyond noise",
            "; ".join(slower) or "none is",
            not slower if document["cells"] else None,
        ),
    ]


def judgement(document: Document) -> str:
    lines = ["", "targets:"]
    lines += [f"  {_verdict(met):12} {what}: {found}" for what, found, met in targets(document)]
    lines += [f"without {name}: {reason}" for name, reason in document["refused"].items()]
    return "\n".join(lines)


def line(cell: Cell) -> str:
    medians = " ".join(f"{name} {us[0]:.4g}" for name, us in sorted(cell["us"].items(), key=lambda pair: pair[1][0]))
    return f"{cell['net']}, {_rows(cell['batch'])}: µs a call: {medians}"


def plain(engine: str) -> str:
    return NAMES[engine].replace("*", "")


def put(document: Document) -> None:
    """Into docs/performance.md."""
    pages.put("nets", section(document))


INTRODUCTION = """## Nets in fp32, fp16 and int8

The tests' ten kinds of nets, trained a little: the `onnx` candidates as Triton serves them (guards of unknown codes and
the answer in the graph) on ONNX Runtime's CPU provider, against eager torch, AOTInductor and OpenVINO, one thread each.
An engine is a process of its own on the same core, called in Python with numpy arrays; they take turns, and rounds go
to and fro. Nothing is timed before its answers are torch's, within what the gate allows the precision. Medians of calls
in µs; in brackets 95% intervals, of rounds drawn anew.
"""


def section(document: Document) -> str:
    machine, versions = document["machine"], document["versions"]
    engines = ", ".join(f"{plain(name)} {versions[name]}" for name in NAMES if name in versions)
    batches = sorted({cell["batch"] for cell in document["cells"]})
    parts = [
        INTRODUCTION,
        f"{machine['cpu']} (family {machine['family']}, model {machine['model']}), Python {machine['python']}.",
        f"{engines}.",
        "\n### Targets\n",
        "| | found | |\n|---|---|---|",
        *(f"| {what} | {found} | {_verdict(met)} |" for what, found, met in targets(document)),
        *(f"\n### {_rows(batch)}\n\n{_table(document, batch)}" for batch in batches),
        "\n### Sizes\n",
        _sizes(document),
        *_absent(document),
        f"\nWritten by `python benchmarks/nets.py` (about {document['seconds']:g} s a net and batch); all numbers",
        "are in [nets.json](../benchmarks/results/nets.json).\n",
    ]
    return "\n".join(parts)


def _table(document: Document, batch: int) -> str:
    shown = [name for name in NAMES if any(name in cell["us"] for cell in document["cells"])]
    heads = " | ".join(NAMES[name] for name in shown)
    lines = [f"| net | {heads} | over eager torch | over the best peer |", f"|---|{'---|' * (len(shown) + 2)}"]
    for cell in document["cells"]:
        if cell["batch"] == batch:
            own, peer = winner(cell), best_peer(cell)
            ratios = cell["ratios"][own]
            times = " | ".join(f"{cell['us'][name][0]:,.3g}" if name in cell["us"] else "" for name in shown)
            lines.append(
                f"| {cell['net']} | {times} | {_times(ratios['torch'])} | {_times(ratios[peer])} {plain(peer)} |"
            )
    return "\n".join(lines)


def _sizes(document: Document) -> str:
    shown = (*OURS, "aotinductor")
    lines = [f"| net | parameters | {' | '.join(NAMES[name] for name in shown)} |", f"|---|---|{'---|' * len(shown)}"]
    for entry in document["nets"]:
        sizes = [f"{entry['bytes'][name] / 1024:,.0f} KiB" if name in entry["bytes"] else "" for name in shown]
        lines.append(f"| {entry['name']} | {entry['parameters']:,} | {' | '.join(sizes)} |")
    return "\n".join(lines)


def _absent(document: Document) -> list[str]:
    lines = [f"- {plain(name)}: {reason}" for name, reason in document["refused"].items()]
    lines += [
        f"- {plain(name)} on {entry['name']}: {reason}"
        for entry in document["nets"]
        for name, reason in entry["without"].items()
    ]
    return ["\n### What didn't run\n", *lines] if lines else []


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "short", None: "not measured"}[met]


def _times(ratio: Any) -> str:
    number, low, high = ratio
    return f"{number:.2f}x ({low:.2f} to {high:.2f})"


def _rows(batch: int) -> str:
    return f"{batch:,} row{'s' if batch > 1 else ''}"
