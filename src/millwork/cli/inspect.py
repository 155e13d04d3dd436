"""``millwork inspect``: what a model is, without judging or building anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.table import Table

from ..errors import ModelError, UsageError
from .console import Console, answer, plain

if TYPE_CHECKING:
    from ..compile.compile_steps import Loaded, Lowered
    from ..values import FeatureContract


@click.command()
@click.argument("model")
@click.option("--data", metavar="FILE", help="Rows that have every category, where the model holds only their hashes.")
@click.option("--label", metavar="NAME", help="The label's column in --data.")
@click.option("--task", default="", metavar="KIND", help="Of a net: regression, binary, multiclass or multilabel.")
@click.option("--trust", is_flag=True, help="MODEL is yours: read it without a sandbox.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def inspect(model: str, data: str | None, label: str | None, task: str, trust: bool, as_json: bool) -> int:
    """Say what MODEL is.

    Framework and version, objective, features, outputs, trees, and what lowering changes.
    """
    from .. import worker
    from ..compile import compile_steps
    from ..compile.compile_steps import Loaded, Lowered
    from ..storage import scratch

    if label is not None and data is None:
        raise UsageError("--label without --data", "Give the file that holds the label's column with --data.")
    rows = "" if data is None else str(Path(data).absolute())
    with scratch.folder("inspect") as folder:
        request = compile_steps.LoadRequest(path=str(Path(model).absolute()), data=rows, label=label, task=task)
        done = worker.run(
            "millwork.compile.compile_steps:load", request, Loaded, folder=folder, sandbox=worker.Sandbox(on=not trust)
        )
        if isinstance(done, worker.Failure):
            done.raise_(ModelError, f"Reading {model}")
        lower = compile_steps.LowerRequest(program=str(folder / compile_steps.program_file(done.value.signature)))
        lowered = worker.run(
            "millwork.compile.compile_steps:lower", lower, Lowered, folder=folder, sandbox=worker.Sandbox(on=not trust)
        )
        if isinstance(lowered, worker.Failure):
            lowered.raise_(ModelError, f"Lowering {model}")
    if as_json:
        both = {"model": done.value, "lowered": lowered.value}
        answer(msgspec.json.format(msgspec.json.encode(both), indent=2).decode())
    else:
        Console(stdout=True).print(_table(done.value, lowered.value))
    return 0


def _table(loaded: object, lowered: object) -> Table:
    from ..compile.compile_steps import Loaded, Lowered

    if not isinstance(loaded, Loaded) or not isinstance(lowered, Lowered):
        raise TypeError("expected the replies of load and lower")
    signature, names = loaded.signature, loaded.signature.features.names
    shown = ", ".join(names[:8]) + (f", … ({len(names)} in all)" if len(names) > 8 else "")
    wrote = (
        f"{signature.provenance.framework} {signature.provenance.framework_version} {signature.provenance.estimator}"
    )
    missing = signature.features.missing
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a sha256 that is cut off is of no use
    rows = {
        "file": f"{signature.provenance.path} ({signature.provenance.format})",
        "sha256": signature.provenance.sha256,
        "written by": wrote.strip(),
        "objective": signature.objective if signature.is_net else f"{signature.objective} ({signature.output.task})",
        "features": shown + ("" if signature.features.named else " (the model doesn't name them)"),
        **({"categories": _categories(signature.features)} if signature.features.category_names else {}),
        "missing": "NaN" if missing is None else f"NaN and {missing:g}",
        "output": f"{signature.output.kind}: {', '.join(signature.output.labels[:8])}",
        **_size(loaded, lowered),
        **{f"  {note.name}": note.summary for note in lowered.notes if note.modified},
        **{f"note {i + 1}": text for i, text in enumerate(signature.notes)},
    }
    for name, value in rows.items():
        table.add_row(plain(name, "bold"), plain(value))
    return table


def _size(loaded: Loaded, lowered: Lowered) -> dict[str, str]:
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


def _categories(features: FeatureContract) -> str:
    names = features.category_names
    counts = dict(zip(names, features.code_counts, strict=False))
    counted = [f"{name} ({counts.get(name, len(features.categories.get(name, ()))):,} values)" for name in names[:8]]
    more = f", … ({len(names)} in all)" if len(names) > 8 else ""
    return f"{', '.join(counted)}{more}; {'integers' if features.category_dtype == 'int64' else 'text'}"
