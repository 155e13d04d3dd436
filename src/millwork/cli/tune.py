"""``millwork tune``: another configuration for what is published, measured on a real server."""

from __future__ import annotations

from pathlib import Path

import click

from .console import Console, answer, plain
from .terminal import TerminalProgress, print_error
from .tuning_table import tuning_table


@click.command()
@click.argument("name", metavar="MODEL_NAME")
@click.option(
    "--repository", required=True, metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://."
)
@click.option("--data", metavar="FILE", help="Rows to ask with. Default: the version's golden rows.")
@click.option(
    "--traffic", metavar="SPEC", help="batch=1:0.9,64:0.1 rate=2000/s, batch=64 clients=4, or a recorded file."
)
@click.option("--slo", metavar="SPEC", help="The limit: 'p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4'.")
@click.option("--objective", metavar="KIND", help="throughput, latency or cost, within the limit.")
@click.option("--tune-budget", type=float, default=90.0, show_default=True, metavar="SECONDS", help="For all trials.")
@click.option(
    "--triton",
    default="managed",
    show_default=True,
    metavar="WHERE",
    help="managed, grpc://HOST:PORT, or the path of a tritonserver.",
)
@click.option("--run-dir", metavar="DIR", help="Where trials are kept. Default: .millwork/NAME")
@click.option("--sign", metavar="KEY.pem", help="Sign the version; needed where the one that serves is signed.")
@click.option("--dry-run", is_flag=True, help="Everything but publishing.")
@click.option("--json", "as_json", is_flag=True, help="The record on stdout, as in RUN_DIR/run.json.")
def tune(
    name: str,
    repository: str,
    data: str | None,
    traffic: str | None,
    slo: str | None,
    objective: str | None,
    tune_budget: float,
    triton: str,
    run_dir: str | None,
    sign: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Tune the Triton configuration of a published model.

    Only config.pbtxt changes; it is published as a new version, atomically, and verified. Trials are loaded under
    temporary names, no other model is touched.
    """
    from ..api import to_json
    from ..artifacts.repository import at, check_name
    from ..commands import tune as reconfigure
    from ..pipeline.options import objective_of
    from ..triton import address
    from ..tuning import slo as limits
    from ..validators import traffic as traffics

    asked = traffics.default() if traffic is None else traffics.parse(traffic)
    wish = reconfigure.Wish(
        repository=at(repository),
        name=check_name(name),
        traffic=asked,
        slo=limits.Slo() if slo is None else limits.parse(slo),
        objective=objective_of(objective, asked),
        budget_s=tune_budget,
        triton=address.parse(triton),
        run_dir=Path(run_dir or Path(".millwork") / name).absolute(),
        data=None if data is None else Path(data).absolute(),
        dry_run=dry_run,
        sign=None if sign is None else Path(sign).absolute(),
    )
    console = Console()
    with TerminalProgress(console) as progress:
        found, error = reconfigure.tune(wish, progress)
    console.print()
    console.print(tuning_table(found))
    if as_json:
        answer(to_json(found))
    if error is not None:
        print_error(console, error)
    console.print(plain(f"report: {found.run_dir}/report.html", "dim"), soft_wrap=True)
    return 0 if error is None else error.exit_code
