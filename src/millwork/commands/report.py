"""``report``: a run's report again, from its run.json."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..artifacts import report as reports
from ..errors import UsageError
from ..storage import wire
from ..storage.files import refusal
from ..storage.opening import read_limited
from ..values import Record


def report(run_dir: Path) -> Path:
    """Write both, the page and the Markdown, into the run's folder; the page's path."""
    return reports.write(_record(run_dir), run_dir)


def _record(run_dir: Path) -> Record:
    """The record of a finished run; UsageError where there is none."""
    path = run_dir / "run.json"
    try:
        return wire.decode(read_limited(path), Record)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path}: no such file", "Name the run directory of a finished run (.millwork/NAME)."
        ) from error
    except OSError as error:
        raise UsageError(
            refusal(error, path), "Run optimize again in this run directory: it is then written new."
        ) from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: not a run's record: {error}") from error
