"""``report.html``: one static page that loads nothing. The template is ``report.html.j2``.

Names and reasons come from a model file that anyone may have written, so autoescape is on and the page's own
policy forbids scripts and every request.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from ...values import Record
from . import sections, text
from .chart import chart
from .tuning import tuned
from .verdict import MARKS, model_name, notes, standing, verdict

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE = "report.html.j2"
FEW_FEATURES = 30
"""A longer list of features is folded away."""


def render_html(record: Record) -> str:
    """The page for ``record``."""
    found = verdict(record)
    return _environment().get_template(TEMPLATE).render(
        record=record,
        name=model_name(record),
        verdict=found,
        mark=MARKS[found.outcome],
        lines=tuple((candidate, standing(record, candidate)) for candidate in record.candidates),
        batches=tuple(sorted({line.batch for c in record.candidates for line in c.latency})),
        metrics=tuple((c, c.parity.metric) for c in record.candidates if c.parity and c.parity.metric),
        chart=chart(record),
        tuned=tuned(record),
        facts=sections.facts(record),
        commands=sections.commands(record),
        pass_groups=sections.pass_groups(record),
        tensors=sections.tensors(record),
        versions=sections.versions(record),
        notes=notes(record),
        few_features=FEW_FEATURES,
        text=text,
    )  # fmt: skip


def _environment() -> Environment:
    """Imported here, since every command line would pay for it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _visible(value: object) -> object:
    """What every ``{{ … }}`` goes through before it is escaped."""
    escaped_already = hasattr(value, "__html__")
    return text.visible(value) if isinstance(value, str) and not escaped_already else value
