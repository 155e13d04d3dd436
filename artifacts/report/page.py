"""``report.html``: one static page that loads nothing. The template is ``report.html.j2``.

Names and reasons come from a model file that anyone may have written, so autoescape is on and the page's own
policy forbids every request, and every script but the one that sorts tables, by its sha256.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from ...values import Record
from . import costs as table
from . import pictures as drawn
from . import sections, text
from .calling import calling
from .chart import chart
from .served_by import served_by
from .tuning import tuned
from .verdict import MARKS, limits, missed, model_name, notes, standing, verdict

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE, SCRIPT = "report.html.j2", "sort.js"
FEW_FEATURES = 30
"""A longer list of features is folded away."""


def render_html(record: Record) -> str:
    """The page for ``record``."""
    found = verdict(record)
    script = source(SCRIPT)
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            record=record,
            name=model_name(record),
            verdict=found,
            mark=MARKS[found.outcome],
            lines=tuple((candidate, standing(record, candidate)) for candidate in record.candidates),
            batches=tuple(sorted({line.batch for c in record.candidates for line in c.latency})),
            metrics=tuple((c, c.parity.metric) for c in record.candidates if c.parity and c.parity.metric),
            chart=chart(record),
            costs=table.costs(record),
            findings=table.findings(record),
            one_precision=table.one_precision(record),
            pictures=drawn.pictures(record),
            times=drawn.times(record),
            pictures_missing=drawn.missing(record),
            worst=tuple(c for c in drawn.inexact(record) if c.parity and c.parity.worst),
            many_ulps=table.many_ulps(record),
            limits=() if missed(record) else limits(record),  # an error says it as its reason
            calling=calling(record),
            client_file=sections.client_file(record),
            script=script,
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            tuned=tuned(record),
            served=served_by(record),
            facts=sections.facts(record),
            pass_groups=sections.pass_groups(record),
            tensors=sections.tensors(record),
            versions=sections.versions(record),
            notes=notes(record),
            few_features=FEW_FEATURES,
            text=text,
        )
    )


def _environment() -> Environment:
    """Imported here, since every command line would pay for it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def source(name: str) -> str:
    """A file of this package: a template, the style, the script."""
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _visible(value: object) -> object:
    """What every ``{{ … }}`` goes through before it is escaped."""
    escaped_already = hasattr(value, "__html__")
    return text.visible(value) if isinstance(value, str) and not escaped_already else value
