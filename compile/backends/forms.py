"""Which backends are built, in which precisions: what was asked for, and what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UsageError
from . import table
from .row import BackendRow
from .table import PRECISIONS


@dataclass(frozen=True)
class BackendForm:
    """One candidate to be: a backend, in a precision."""

    backend: str
    precision: str

    @property
    def id(self) -> str:
        return f"{self.backend}-{self.precision}"

    @property
    def short(self) -> str:
        """Without the precision, where it is the usual one."""
        return self.backend if self.precision == "fp32" else self.id


def forms(wanted: Sequence[str], precisions: Sequence[str], *, net: bool, gpu: bool = False) -> tuple[BackendForm, ...]:
    """What is built, in the table's order. ``wanted``: backends by name, none for all; ``precisions``: none for all
    that nets have, and for fp32 of a forest, which loses nothing by another. A backend that was named and has none of
    the precisions is tried in the first of them, and says itself why it can't. ``gpu``: the target is a GPU that is
    here."""
    usual = tuple(
        row.name for row in table.rows() if _precisions(row, net=net) and not row.toolchain and (gpu or not row.gpu)
    )
    found = []
    for name in wanted or usual:
        has = _precisions(table.row(name), net=net)
        if len(has) > 1 and not net:
            has = PRECISIONS  # which it can't hold, and why, the backend says itself
        asked = tuple(precisions) or (has if net else ("fp32",))
        fitting = [precision for precision in asked if precision in has]
        found += [
            BackendForm(name, precision)
            for precision in fitting or ((asked[:1] or ("fp32",)) if name in wanted else ())
        ]
    return tuple(found)


def require_forms(wanted: Sequence[str], precisions: Sequence[str], *, net: bool) -> None:
    """UsageError where none of the backends that were named has anything for this kind of model, or none of them (of
    all, where none was named) has any of the ``precisions``. Of several, those that have none are lines of the
    report."""
    kind = "a net" if net else "a forest"
    own = {row.name: has for row in table.rows() if (has := _precisions(row, net=net))}
    fitting = [name for name in wanted or own if name in own]
    if not fitting:
        raise UsageError(
            f"--backends {','.join(wanted)}: this model is {kind}, which none of these can build",
            f"For {kind} there are {', '.join(own)}.",
        )
    there = [precision for precision in PRECISIONS if any(precision in own[name] for name in fitting)]
    if precisions and not set(precisions) & set(there):
        who = ", ".join(fitting) if wanted else "no backend"
        verb = "can't" if wanted else "can"
        raise UsageError(
            f"--precision {','.join(precisions)}: this model is {kind}, which {who} {verb} build in this precision",
            f"It can be built in {', '.join(there)}.",
        )


def _precisions(row: BackendRow, *, net: bool) -> tuple[str, ...]:
    """Those that it has for this kind of model; none where it has nothing for it."""
    form = row.nets if net else row.trees
    return form.precisions if form is not None else ()
