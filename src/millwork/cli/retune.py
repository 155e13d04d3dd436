"""``millwork retune``: does the published configuration still fit its production traffic?"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..errors import UsageError
from .console import Console, answer, plain
from .terminal import TerminalProgress, print_error
from .tuning_table import tuning_table


@click.command()
@click.argument("name", metavar="[MODEL_NAME]", required=False, default="")
@click.option(
    "--repository", required=True, metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://."
)
@click.option("--metrics", metavar="URL", help="Triton's counters: http://HOST:8002/metrics.")
@click.option("--prometheus", metavar="URL", help="A Prometheus that scrapes it: http://HOST:9090.")
@click.option(
    "--seconds",
    type=float,
    metavar="N",
    help="How long: 10 between two readings of --metrics; the last 3600 of --prometheus.",
)
@click.option("--apply", is_flag=True, help="Tune under the traffic that was seen, and publish.")
@click.option("--tune-budget", type=float, default=90.0, show_default=True, metavar="SECONDS", help="With --apply.")
@click.option(
    "--triton", default="managed", show_default=True, metavar="WHERE", help="With --apply: where to tune and verify."
)
@click.option("--run-dir", metavar="DIR", help="With --apply: where trials are kept. Default: .millwork/NAME")
@click.option("--sign", metavar="KEY.pem", help="With --apply: sign the version with this private key.")
@click.option("--json", "as_json", is_flag=True, help="What was found, on stdout.")
def retune(
    name: str,
    repository: str,
    metrics: str | None,
    prometheus: str | None,
    seconds: float | None,
    apply: bool,
    tune_budget: float,
    triton: str,
    run_dir: str | None,
    sign: str | None,
    as_json: bool,
) -> int:
    """Compare the published configuration with its production counters.

    Says whether it still fits, and what would do better; nothing is changed without --apply. The production server is
    read, never put under load.
    """
    from ..artifacts.repository import at, check_name
    from ..commands import retune as production
    from ..triton import address

    if not metrics and not prometheus:
        raise UsageError("neither --metrics nor --prometheus", "Such as --metrics http://HOST:8002/metrics.")
    span = seconds if seconds is not None else (3600.0 if prometheus else 10.0)
    if not 0 < span <= 30 * 86400:
        raise UsageError(f"--seconds {span:g}: expected above 0, at most 30 days")
    watch = production.Watch(
        repository=at(repository),
        name=check_name(name) if name else "",
        metrics=metrics or "",
        prometheus=prometheus or "",
        seconds=span,
        triton=address.parse(triton),
        run_dir=None if run_dir is None else Path(run_dir),
        budget_s=tune_budget,
        apply=apply,
        sign=None if sign is None else Path(sign).absolute(),
    )
    console = Console()
    with TerminalProgress(console) as progress:
        found, error = production.retune(watch, progress)
    console.print()
    for line in _said(found):
        console.print(plain(line), soft_wrap=True)
    if found.record is not None:
        console.print(tuning_table(found.record))
    if as_json:
        answer(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    if error is not None:
        print_error(console, error)
        return error.exit_code
    return 0


def _said(found: object) -> list[str]:
    from ..commands.retune import Retuned

    if not isinstance(found, Retuned):
        return []
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
