"""``millwork inspect``: what a model is, without judging or building anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import units
from ..commands.options import InspectOptions
from .command import AsJson, command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from ..commands.inspect import Inspected
    from ..commands.published import PublishedVersion
    from ..values import FeatureContract


@command(InspectOptions)
def inspect(options: InspectOptions, as_json: AsJson = False) -> int:
    """Say what MODEL is: a model's file, or a published one (REPOSITORY/NAME or REPOSITORY/NAME/VERSION).

    Of a file: its framework and version, objective, features, outputs and size, and what lowering changes. Of a
    published one: by what Triton serves it, what a stock Triton lacks for that, and its contract.
    """

    from ..commands import inspect as inspections
    from ..commands import published
    from .console import Console, answer_json

    console = Console(stdout=True)
    there = published.find(options.model)
    found = inspections.inspect(options) if there is None else None
    if as_json:
        answer_json(found or there)
    elif there is not None:
        console.print(_published(there))
    elif found is not None:
        console.print(_table(found))
    return 0


def _published(found: PublishedVersion) -> Table:
    from ..artifacts.report.served_by import block

    manifest, said = found.manifest, block(found.served, whole=True)
    names, classes = manifest.features.all_names, ", ".join(manifest.output.labels[:8])
    shown = ", ".join(names[:8]) + (f", … ({len(names)} in all)" if len(names) > 8 else "")
    model = f"{manifest.model.framework} {manifest.model.framework_version}".strip()
    return _rows(
        {
            "published": f"{found.repository}/{found.name}, version {found.version}"
            + (", which serves" if found.serves else ""),
            "model": f"{model}, {manifest.model.objective}",
            "candidate": manifest.candidate_id,
            "served by": " ".join(filter(None, (said.sentence, said.lead))),
            **{" " * (i + 1): line for i, line in enumerate(said.dockerfile)},
            "settings": found.settings,
            "written for": f"Triton {manifest.triton_release}",
            "features": shown,
            "output": f"{manifest.output.kind}: {classes}",
            "created": f"{manifest.created} by millwork {manifest.millwork}",
            "sha256": manifest.source.sha256,
        }
    )


def _table(found: Inspected) -> Table:
    signature, names = found.model.signature, found.model.signature.features.names
    shown = ", ".join(names[:8]) + (f", … ({len(names)} in all)" if len(names) > 8 else "")
    wrote = (
        f"{signature.provenance.framework} {signature.provenance.framework_version} {signature.provenance.estimator}"
    )
    missing = signature.features.missing
    rows = {
        "file": f"{signature.provenance.path} ({signature.provenance.format})",
        "sha256": signature.provenance.sha256,
        "written by": wrote.strip(),
        "objective": signature.objective if signature.is_net else f"{signature.objective} ({signature.output.task})",
        "features": shown + ("" if signature.features.named else " (the model doesn't name them)"),
        **({"categories": _categories(signature.features)} if signature.features.category_names else {}),
        "missing": "NaN" if missing is None else f"NaN and {units.exact(missing)}",
        "output": f"{signature.output.kind}: {', '.join(signature.output.labels[:8])}",
        **_size(found),
        **{f"  {note.name}": note.summary for note in found.lowered.notes if note.modified},
        **{f"note {i + 1}": text for i, text in enumerate(signature.notes)},
    }
    return _rows(rows)


def _rows(rows: Mapping[str, str]) -> Table:
    from rich.table import Table

    from .console import plain

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a sha256 that is cut off is of no use
    for name, value in rows.items():
        table.add_row(plain(name, "bold"), plain(value))
    return table


def _size(found: Inspected) -> dict[str, str]:
    loaded, lowered = found.model, found.lowered
    if loaded.signature.is_net:
        rows = "" if loaded.signature.output.independent_rows else "; rows affect each other: never batched"
        return {
            "net": f"{loaded.nodes:,} operators, {loaded.parameters:,} parameters{rows}",
            "lowered": f"{lowered.nodes:,} operators",
        }
    return {
        "forest": f"{loaded.trees:,} trees, {loaded.nodes:,} nodes, depth {loaded.depth}",
        "lowered": f"{lowered.trees:,} trees, {lowered.nodes:,} nodes",
    }


MOST_SHOWN = 1 << 24
"""Of more codes a column has any."""


def _categories(features: FeatureContract) -> str:
    names = features.category_names
    counts = dict(zip(names, features.code_counts, strict=False))
    sizes = {name: counts.get(name, len(features.categories.get(name, ()))) for name in names[:8]}
    anything = {name for name, count in counts.items() if not count or count > MOST_SHOWN}
    counted = [f"{name} ({'any' if name in anything else f'{size:,} values'})" for name, size in sizes.items()]
    more = f", … ({len(names)} in all)" if len(names) > 8 else ""
    return f"{', '.join(counted)}{more}; {'integers' if features.category_dtype == 'int64' else 'text'}"
