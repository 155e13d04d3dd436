"""``millwork optimize``: the main job."""

from __future__ import annotations

from ..errors import MillworkError, ParityError, TargetError
from ..pipeline.options import Options
from .command import AsRecord, command


@command(Options)
def optimize(options: Options, as_json: AsRecord = False) -> int:
    """Convert, prove equal, measure and publish MODEL.

    Nothing is published unless a candidate is equal to the framework, leaf by leaf, and a real Triton answers with it.
    """
    from ..pipeline import optimize as pipeline
    from .console import Console, answer_json, plain
    from .terminal import TerminalProgress, candidates_table, outcome, print_error
    from .tuning_table import tuning_table

    console = Console()
    with TerminalProgress(console) as progress:
        found, error = pipeline.optimize(options, progress)
    console.print()
    console.print(candidates_table(found))
    console.print()
    if found.tuning is not None and found.tuning.best is not None:
        console.print(tuning_table(found))
        console.print()
    if as_json:
        answer_json(found, f"the record is in {found.run_dir}/run.json")
    if error is not None:
        print_error(console, _brief(error))
        console.print(plain(f"report: {found.run_dir}/report.html", "dim"), soft_wrap=True)
        return error.exit_code
    console.print(outcome(found))
    return 0


def _brief(error: MillworkError) -> MillworkError:
    """Without the candidates' reasons, which the table has given: they are for whoever has no table."""
    if not isinstance(error, ParityError | TargetError):
        return error
    return type(error)(error.message.splitlines()[0].rstrip(":"), error.hint)
