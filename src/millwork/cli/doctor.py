"""``millwork doctor``: what this machine can build, run and serve, with versions, and what is missing."""

from __future__ import annotations

from ..commands.options import DoctorOptions
from .command import AsJson, command


@command(DoctorOptions)
def doctor(options: DoctorOptions, as_json: AsJson = False) -> int:
    """Say what this machine has, and what it lacks; and whether a publication was cut off."""
    from rich.table import Table
    from rich.text import Text

    from ..commands import doctor as doctor_command
    from .console import Console, answer_json, plain

    findings = doctor_command.examine(options.repository or "")
    if as_json:
        answer_json(findings)
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for finding in findings:
        mark = Text("✓", "green") if finding.there else Text("-", "yellow")
        what = finding.version if finding.there else finding.hint
        table.add_row(mark, plain(finding.what, "bold"), plain(what), plain(finding.purpose, "dim"))
    Console(stdout=True).print(table)
    return 0
