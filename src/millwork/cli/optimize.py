"""``millwork optimize``: the main job."""

from __future__ import annotations

import click

from ..errors import MillworkError, ParityError, TargetError
from .console import Console, answer, plain
from .terminal import TerminalProgress, candidates_table, outcome, print_error
from .tuning_table import tuning_table


@click.command()
@click.argument("model")
@click.option("--data", metavar="FILE", help="Rows of your traffic: .parquet, .csv, .npy, .npz (array X).")
@click.option("--label", metavar="NAME", help="The label's column in --data: the metric, if the task has one.")
@click.option(
    "--target", metavar="NAME", default="host", show_default=True, help="Where it will run: host, cpu, a100, …"
)
@click.option("--allow-other-gpu", is_flag=True, help="Measure on the GPU that is here, though it isn't the target.")
@click.option(
    "--repository", metavar="URL", help="The Triton model repository to publish into: a folder, s3://, gs:// or az://."
)
@click.option("--name", metavar="NAME", help="The model's name there. Default: the file's.")
@click.option(
    "--output", metavar="KIND", default="probability", show_default=True, help="probability, margin, or label."
)
@click.option("--backends", metavar="A,B", help="Only these candidates: reference, onnx, fil, …")
@click.option("--precision", metavar="A,B", help="fp32, fp16, int8, int32: what to build. Default: fp32; of a net all.")
@click.option("--task", metavar="KIND", help="Of a net: regression, binary, multiclass or multilabel.")
@click.option("--module", metavar="PKG.MOD:FN", help="What makes the net that a state dict belongs to.")
@click.option("--tolerance", metavar="SPEC", help="abs=NUMBER,rel=NUMBER. Default: derived from the model.")
@click.option(
    "--traffic", metavar="SPEC", help="batch=1:0.9,64:0.1 rate=2000/s, batch=64 clients=4, or a recorded file."
)
@click.option("--slo", metavar="SPEC", help="The limit: 'p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4'.")
@click.option("--objective", metavar="KIND", help="throughput, latency or cost, within the limit.")
@click.option(
    "--tune-budget",
    type=float,
    metavar="SECONDS",
    help="For tuning: 90 with a rate, clients, a limit or an objective, else 20; 0: none.",
)
@click.option(
    "--triton",
    metavar="WHERE",
    default="managed",
    show_default=True,
    help="managed, none, grpc://HOST:PORT, or the path of a tritonserver.",
)
@click.option("--triton-release", metavar="YY.MM", help="The release to write for, where no server can be asked.")
@click.option("--executor", metavar="WHERE", default="local", show_default=True, help="local.")
@click.option("--run-dir", metavar="DIR", help="Where stages are kept. Default: .millwork/NAME")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of one call.")
@click.option(
    "--dry-run", is_flag=True, help="Everything but publishing; without --repository tuned only if asked for."
)
@click.option("--json", "as_json", is_flag=True, help="The record on stdout, as in RUN_DIR/run.json.")
@click.option("--sign", metavar="KEY.pem", help="Sign the version with this private key (elliptic curve, PEM).")
@click.option(
    "--trust",
    is_flag=True,
    help="MODEL is yours: read it without a sandbox, and let a newer framework judge where its own can't be had.",
)
def optimize(
    model: str,
    data: str | None,
    label: str | None,
    target: str,
    repository: str | None,
    name: str | None,
    output: str,
    backends: str | None,
    precision: str | None,
    task: str | None,
    module: str | None,
    tolerance: str | None,
    traffic: str | None,
    slo: str | None,
    objective: str | None,
    tune_budget: float | None,
    triton: str,
    triton_release: str | None,
    executor: str,
    run_dir: str | None,
    threads: int,
    dry_run: bool,
    as_json: bool,
    trust: bool,
    sign: str | None,
    allow_other_gpu: bool,
) -> int:
    """Convert, prove equal, measure and publish MODEL.

    MODEL: XGBoost .json or .ubj; CatBoost .cbm or .json; a .pkl or .joblib of either; a torch net as .pt2
    (torch.export), or a state dict with --module. A pickle is never unpickled.
    Nothing is published unless a candidate is equal to the framework, leaf by leaf, and a real Triton answers with it.
    """
    from ..api import to_json
    from ..pipeline import optimize as pipeline
    from ..pipeline.options import Options

    options = Options(
        model=model,
        data=data,
        label=label,
        target=target,
        repository=repository,
        name=name,
        output=output,
        backends=backends,
        precision=precision,
        task=task,
        module=module,
        tolerance=tolerance,
        traffic=traffic,
        slo=slo,
        objective=objective,
        tune_budget=tune_budget,
        triton=triton,
        triton_release=triton_release,
        executor=executor,
        run_dir=run_dir,
        dry_run=dry_run,
        trust=trust,
        sign=sign,
        allow_other_gpu=allow_other_gpu,
        threads=threads,
    )
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
        answer(to_json(found))
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
