"""``report.md``: the report as GitHub-flavoured Markdown, to paste into a pull request or a ticket."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...values import CandidateRecord, Record
from . import costs as by_precision
from . import sections, text
from .calling import calling
from .served_by import served_by
from .tuning import tuned
from .verdict import MARKS, Standing, limits, missed, model_name, notes, standing, verdict

FEW_FEATURES = 30
FOLDED = "Latency by batch, metrics, passes, tensors, configuration, versions"
_SPECIAL = re.compile(r"([\\`*_\[\]|#~!$])")


def render_markdown(record: Record) -> str:
    """The report on ``record``."""
    found = verdict(record)
    parts = [
        f"# {MARKS[found.outcome]} {plain(model_name(record))}",
        f"**{plain(found.sentence)}**" + (f" {plain(found.because)}" if found.because else ""),
        *(f"- Limit {plain(limit)}" for limit in limits(record) if not missed(record)),
        *_served(record),
        *_ask(record),
        *_notes(record),
        "## What was judged, and by what",
        _facts(sections.facts(record)),
        *_costs(record),
        "## Candidates",
        _candidates(record),
        f"<details><summary>{FOLDED}</summary>",
        *_latency(record),
        *_tuning(record),
        *_metrics(record),
        *_passes(record),
        "## What a client sends and gets",
        _facts(sections.tensors(record)),
        _features(record.model.features),
        *(("## config.pbtxt", fenced(record.tuning.config)) if record.tuning and record.tuning.config else ()),
        "## Versions",
        _facts(sections.versions(record)),
        "</details>",
    ]
    return "\n\n".join(parts) + "\n"


def _served(record: Record) -> list[str]:
    found = served_by(record)
    if found is None:
        return []
    lines = (plain(found.lead), fenced("\n".join(found.dockerfile))) if found.dockerfile else ()
    return [plain(found.sentence), *lines]


def plain(words: str) -> str:
    """``words`` on one line, with nothing in them that Markdown or HTML would read."""
    escaped = _SPECIAL.sub(r"\\\1", text.one_line(words))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(code: str) -> str:
    """A code block whose fence is longer than any in the code."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.visible(code).rstrip()}\n{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a head that ends in ``>`` has its column to the right. Cells are escaped here."""
    names = [plain(head.rstrip(">")) for head in heads]
    rule = ["---:" if head.endswith(">") else "---" for head in heads]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rule, *([plain(c) for c in row] for row in rows)))


def _facts(facts: Iterable[sections.Fact]) -> str:
    return "\n".join(f"- **{plain(fact.term)}:** {'; '.join(plain(line) for line in fact.lines)}" for fact in facts)


def _costs(record: Record) -> tuple[str, ...]:
    found = by_precision.costs(record)
    if found is None:
        return ()
    words = 0 if by_precision.one_precision(record) else 1
    heads = ("Candidate", *found.heads[:words], *(f"{head}>" for head in found.heads[words:]))
    rows = (
        (
            f"{'★ ' if line.word == 'winner' else ''}{line.id}",
            *(f"{cell.words} ({cell.small})" if cell.small else cell.words for cell in line.cells),
        )
        for line in found.lines
    )
    said = [f"{finding[:1].upper()}{finding[1:]}." for finding in by_precision.findings(record)]
    foot = (
        "In brackets: after a time its 95% interval; after a metric its difference from the framework's, "
        "by a paired bootstrap."
    )
    what = "candidate" if by_precision.one_precision(record) else "precision"
    return (f"## What each {what} costs", table(heads, rows), foot, *(plain(line) for line in said))


def _candidates(record: Record) -> str:
    if not record.candidates:
        return "There are no candidates."
    heads = (
        "Candidate",
        "Verdict",
        "Wrong leaves>",
        "Largest difference>",
        "Max ULP>",
        "Decision flips>",
        "Size>",
        "Build>",
        "Why",
    )
    return table(heads, (_candidate(c, standing(record, c)) for c in record.candidates))


def _candidate(candidate: CandidateRecord, stands: Standing) -> tuple[str, ...]:
    parity = candidate.parity
    figures = (
        (text.NONE,) * 4
        if parity is None
        else (
            text.whole(parity.leaf_mismatches),
            text.difference(parity.max_abs),
            text.ulps(parity.max_ulp),
            text.whole(parity.decision_flips),
        )
    )
    size = text.size(candidate.bytes) if candidate.bytes else text.NONE
    build = text.seconds(candidate.build_s) if candidate.build_s else text.NONE
    return (candidate.id, f"{'★ ' if stands.word == 'winner' else ''}{stands.word}", *figures, size, build, stands.why)


def _latency(record: Record) -> tuple[str, ...]:
    lines = sorted(
        ((line, candidate) for candidate in record.candidates for line in candidate.latency), key=lambda p: p[0].batch
    )
    if not lines:
        return ()
    heads = ("Batch>", "Candidate", "p50>", "95% interval>", "p99>", "95% interval>", "Rows/s>", "Calls>")
    rows = (
        (
            f"{line.batch:,}",
            candidate.id,
            text.duration(line.p50_us),
            text.interval(line.ci.get("p50_us")),
            text.duration(line.p99_us),
            text.interval(line.ci.get("p99_us")),
            text.figures(line.rows_per_s),
            text.whole(line.samples),
        )
        for line, candidate in lines
    )
    foot = "Times are of one call in process, with the candidates interleaved. A p99 needs 662 calls."
    return ("## Latency", table(heads, rows), foot)


def _tuning(record: Record) -> tuple[str, ...]:
    found = tuned(record)
    if found is None:
        return ()
    heads = ("Trial>", "Configuration", "Rows/s>", "p50>", "p99>", "Rows a call>", "Rounds>", "Result")
    rows = (
        (str(row.id), f"{'★ ' if row.word == 'best' and not found.missed else ''}{row.name}", *row.cells, row.did)
        for row in found.rows
    )
    return ("## On the server", _facts(found.facts), table(heads, rows), found.foot)


def _metrics(record: Record) -> tuple[str, ...]:
    rows = [
        (
            candidate.id,
            metric.name,
            f"{metric.framework:.6g}",
            f"{metric.candidate:.6g}",
            f"{metric.difference.low:.2g} to {metric.difference.high:.2g}",
            text.whole(metric.rows),
        )
        for candidate in record.candidates
        if candidate.parity is not None and (metric := candidate.parity.metric) is not None
    ]
    heads = ("Candidate", "Metric", "Framework>", "Candidate>", "Difference, 95% interval>", "Rows>")
    return ("## The metric on your labels", table(heads, rows)) if rows else ()


def _passes(record: Record) -> tuple[str, ...]:
    groups = sections.pass_groups(record)
    if not groups:
        return ()
    told = (
        f"{plain(', '.join(group.candidates))}:\n\n"
        + "\n".join(f"1. {plain(note.name)}: {plain(note.summary)}" for note in group.passes)
        for group in groups
    )
    return ("## What the passes changed", *told)


def _features(names: Sequence[str]) -> str:
    listed = "\n".join(f"{i}. {plain(name)}" for i, name in enumerate(names))
    if len(names) <= FEW_FEATURES:
        return listed
    return f"<details><summary>All {len(names):,} features, in order</summary>\n\n{listed}\n\n</details>"


def _ask(record: Record) -> tuple[str, ...]:
    """The commands, and a request that can be sent as it is."""
    found = calling(record)
    commands = sections.commands(record) if found is None else found.commands
    lines = [f"{command.line}  # {command.purpose}" for command in commands]
    if found is not None and found.curl:
        lines.append(f"{found.curl}  # answers {found.answer}")
    before = (plain(found.before),) if found is not None and found.before else ()
    return ("## Ask it", *before, fenced("\n".join(lines))) if lines else ()


def _notes(record: Record) -> tuple[str, ...]:
    found = notes(record)
    return ("## Notes", "\n".join(f"- {plain(note)}" for note in found)) if found else ()
