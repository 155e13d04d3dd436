"""``millwork retune``: does the published configuration still fit its production traffic?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..commands.options import RetuneOptions
from .command import AsJson, command

if TYPE_CHECKING:
    from ..commands.retune import Retuned


@command(RetuneOptions)
def retune(options: RetuneOptions, as_json: AsJson = False) -> int:
    """Compare the published configuration with its production counters.

    It says whether the configuration still fits, and what would do better. It changes nothing without --apply. The
    production server is read, never put under load.
    """
    from ..commands import retune as retune_command
    from .console import Console, answer_json, plain
    from .terminal import TerminalProgress, print_error
    from .tuning_table import tuning_table

    request = retune_command.requested(options)
    console = Console()
    with TerminalProgress(console) as progress:
        found, error = retune_command.retune(request, progress)
    console.print()
    for line in _said(found):
        console.print(plain(line), soft_wrap=True)
    if found.record is not None:
        console.print(tuning_table(found.record))
    if as_json:
        answer_json(found, "what was done is done")
    if error is not None:
        print_error(console, error)
        return error.exit_code
    return 0


def _said(found: Retuned) -> list[str]:
    fit = found.fitness
    lines = [f"{found.name}: {found.now}" + (f"; tuned for {found.tuned_for}" if found.tuned_for else "")]
    lines += [f"  {sign}" for sign in fit.signs]
    if fit.proposal is not None and fit.now_us is not None and fit.proposed_us is not None:
        lines.append(
            f"  proposed: {found.proposed}: p99 about {fit.proposed_us / 1e3:,.2f} ms instead of "
            f"{fit.now_us / 1e3:,.2f} ms by the queueing estimate (this machine's times)"
        )
        lines.append("  --apply measures it and publishes what is best" if found.record is None else "")
    elif not fit.fits:
        lines.append(
            "  what would do better can't be estimated here; --apply measures it" if found.record is None else ""
        )
    elif fit.signs:
        lines.append("  no other configuration is expected to do better")
    else:
        lines.append("  the configuration fits the traffic that it gets")
    return [line for line in lines if line]
