"""``millwork report``: write a run's report again from its run.json."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..errors import UsageError
from ..storage import wire
from ..values import Record
from .console import answer


@click.command()
@click.argument("run_dir", metavar="RUN_DIR")
def report(run_dir: str) -> int:
    """Write a run's report again.

    RUN_DIR/report.html and report.md, from RUN_DIR/run.json; prints the path.
    """
    from ..artifacts import report as reports

    answer(str(reports.write(read_record(Path(run_dir)), Path(run_dir))))
    return 0


def read_record(run_dir: Path) -> Record:
    """The record of a finished run; UsageError where there is none."""
    path = run_dir / "run.json"
    try:
        return wire.decode(path.read_bytes(), Record)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path}: no such file", "Name the run directory of a finished run (.millwork/NAME)."
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"{path}: not a run's record: {error}") from error
