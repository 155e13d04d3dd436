"""The picture of a run's flow, for docs/architecture.md: three lanes of values, with the verbs that lead from one to
the next and the folder in which each verb is done. Colours follow the reader's light or dark theme.

python docs/flow.py docs/flow.svg
"""

from __future__ import annotations

import sys
from html import escape
from itertools import pairwise
from pathlib import Path

WIDTH, HEIGHT = 1084, 420
BOX_W, BOX_H = 162, 58
COLUMNS = (26, 316, 606, 896)
LANES = (44, 194, 344)

Value = tuple[str, str]
"""A box: the value, and what it is."""
Verb = tuple[str, str]
"""An arrow: the verb, and the folder where it is done."""

FLOW: tuple[tuple[str, tuple[Value, ...], tuple[Verb, ...]], ...] = (
    (
        "once for the model",
        (
            ("a file", "never unpickled"),
            ("Loaded", "signature, oracle"),
            ("Lowered", "forest or ONNX graph"),
            ("Truth", "rows, answers, leaves"),
        ),
        (("load", "compile/frontends"), ("lower", "passes"), ("judge by", "validators")),
    ),
    (
        "for every candidate",
        (
            ("BackendForm", "backend, precision"),
            ("Candidate", "artifact, its files"),
            ("CheckedCandidate", "equal, or why not"),
            ("Choice", "who won, and why"),
        ),
        (("build", "compile/backends"), ("check", "validators"), ("measure", "validators")),
    ),
    (
        "for the best few",
        (
            ("ServedCandidate", "on a real Triton"),
            ("Decision", "with a configuration"),
            ("Publication", "a version, verified"),
            ("Record", "run.json, report.html"),
        ),
        (("tune", "tuning, triton"), ("publish", "artifacts, triton"), ("report", "artifacts/report")),
    ),
)

STYLE = """
text { font-family: system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328 }
.lane { font-size: 13px; fill: #59636e }
.value { font-size: 15px; font-weight: 600 }
.what { font-size: 12px; fill: #59636e }
.verb { font-size: 14px; font-weight: 600; fill: #0969da }
.where { font-size: 11.5px; font-family: ui-monospace, Menlo, Consolas, monospace; fill: #59636e }
rect { fill: #f6f8fa; stroke: #8c959f; rx: 8px }
path { fill: none; stroke: #8c959f; stroke-width: 1.6 }
marker path { fill: #8c959f; stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .lane, .what, .where { fill: #9198a1 } .verb { fill: #58a6ff }
  rect { fill: #151b23; stroke: #656c76 } path { stroke: #656c76 } marker path { fill: #656c76 }
}
"""


TIP = """<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 L8 4 L0 8 Z"/></marker></defs>"""


def picture() -> str:
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg" role="img">',
        f"<style>{STYLE}</style>",
        TIP,
    ]
    for y, (lane, values, verbs) in zip(LANES, FLOW, strict=True):
        parts.append(_text(COLUMNS[0], y - 14, "lane", lane, anchor="start"))
        for x, (name, what) in zip(COLUMNS, values, strict=True):
            parts.append(f'<rect x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}"/>')
            parts.append(_text(x + BOX_W / 2, y + 25, "value", name))
            parts.append(_text(x + BOX_W / 2, y + 44, "what", what))
        for x, after, (verb, where) in zip(COLUMNS, COLUMNS[1:], verbs, strict=False):
            start, end, middle = x + BOX_W + 4, after - 4, y + BOX_H / 2
            parts.append(f'<path d="M{start} {middle} H{end}" marker-end="url(#tip)"/>')
            parts.append(_text((start + end) / 2, middle - 9, "verb", verb))
            parts.append(_text((start + end) / 2, middle + 18, "where", where))
    for y, below in pairwise(LANES):
        right, left, middle = COLUMNS[-1] + BOX_W / 2, COLUMNS[0] - 14, (y + BOX_H + below) / 2 - 10
        parts.append(
            f'<path d="M{right} {y + BOX_H + 4} V{middle - 8} Q{right} {middle} {right - 8} {middle} H{left + 8} '
            f"Q{left} {middle} {left} {middle + 8} V{below + BOX_H / 2 - 8} Q{left} {below + BOX_H / 2} {left + 8} "
            f'{below + BOX_H / 2} H{COLUMNS[0] - 3}" marker-end="url(#tip)"/>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, kind: str, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture())
