"""What a run is to do: its options, understood and checked before any work is done."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..artifacts.repository import LocalRepository, Repository, at, check_name
from ..artifacts.repository.terms import ANY, NONE, Terms
from ..compile.backends import table as backends
from ..compile.frontends.torch.model_card import task_of
from ..errors import UsageError, did_you_mean
from ..executors import Executor
from ..executors import parse as parse_executor
from ..storage.inputs import require_file, require_local
from ..targets import Target, measurable
from ..targets import find as find_target
from ..triton import address, patience
from ..triton.address import Address, NoServer
from ..tuning import slo
from ..tuning.budget import LONGEST_TUNE_S, SHORT_TUNE_S, TUNE_S
from ..tuning.slo import Objective, Slo
from ..validators import tolerance, traffic
from ..validators.traffic import Traffic
from ..values import Value
from ..values.served import VERIFY_S
from .options import Options, ReplacingOptions

TARGETS_FILE = "targets.toml"
OUTPUTS = ("probability", "margin", "label")


class Plan(Value):
    """The options, understood. ``repository`` is None where nothing is to be published. ``backends``, ``precisions``:
    those that were named, in order; none for the usual ones of the model's kind.

    ``tune_budget``: seconds, 0 for no tuning; ``tune_asked``: whether somebody said a limit, a traffic or a budget.
    ``named``: the repository that was named, though it be a dry run's: then all is done as if for it.
    ``terms``: what may be replaced. ``millwork_backend``: whether somebody said that the server has our Triton backend.
    ``rehearse_on_server``: whether a version is to be asked on the user's own server before it serves.
    """

    model: Path
    data: Path | None
    label: str | None
    target: Target
    repository: Repository | None
    name: str
    margin: bool
    decided: bool
    backends: tuple[str, ...]
    tolerance: str
    traffic: Traffic
    triton: Address
    triton_release: str | None
    run_dir: Path
    threads: int
    trust: bool = False
    sign: Path | None = None
    slo: Slo = Slo()
    objective: Objective = "throughput"
    tune_budget: float = 0.0
    tune_asked: bool = False
    precisions: tuple[str, ...] = ()
    task: str = ""
    module: str = ""
    module_path: str = ""
    other_gpu: bool = False
    named: Repository | None = None
    terms: Terms = ANY
    millwork_backend: bool = False
    rehearse_on_server: bool = False
    verify_s: float = VERIFY_S

    @property
    def rehearsed(self) -> bool:
        """Whether all is done as if for a repository."""
        return self.named is not None

    @property
    def measurable(self) -> bool:
        """Whether figures for the target may be taken on this machine."""
        return measurable(self.target, other_gpu=self.other_gpu)


def understand(options: Options) -> tuple[Plan, Executor]:
    """Every option checked before any work is done; UsageError names the first that is wrong."""
    _require_local(options)
    name = check_name(options.name) if options.name is not None else name_of(Path(options.model))
    _require_sense(options)
    where = address.asked(options)
    asked = traffic_of(options.traffic)
    limits = Slo() if options.slo is None else slo.parse(options.slo)
    budget, said = _tuning(options, asked, where)
    target = find_target(options.target, Path(TARGETS_FILE))
    repository = _repository(options)
    plan = Plan(
        model=Path(options.model).absolute(),
        data=None if options.data is None else Path(options.data).absolute(),
        label=options.label,
        target=target,
        repository=None if options.dry_run else repository,
        name=name,
        margin=options.output == "margin",
        decided=options.output == "label",
        backends=_backends(options.backends),
        tolerance=options.tolerance or "",
        traffic=asked,
        triton=where,
        triton_release=options.triton_release,
        run_dir=Path(options.run_dir or Path(".millwork") / name).absolute(),
        threads=options.threads,
        trust=options.trust,
        sign=None if options.sign is None else Path(options.sign).absolute(),
        slo=limits,
        objective=objective_of(options.objective, asked),
        tune_budget=budget,
        tune_asked=said,
        precisions=_precisions(options.precision, target),
        other_gpu=_other_gpu(options, target),
        named=repository,
        terms=terms_of(options),
        millwork_backend=options.millwork_backend,
        rehearse_on_server=options.rehearse_on_server,
        verify_s=patience.checked(options.verify_timeout),
        task="" if options.task is None else task_of(options.task),
        module=options.module or "",
        module_path=_module_path(options.module),
    )
    return plan, parse_executor(options.executor)


def _require_sense(options: Options) -> None:
    """UsageError where an option by itself, or beside another, can't be what was meant."""
    if options.output not in OUTPUTS:
        near = did_you_mean(options.output, OUTPUTS)
        raise UsageError(f"--output {options.output!r}: expected probability, margin or label{near}")
    if options.label is not None and options.data is None:
        raise UsageError("--label without --data", "Give the file that holds the label's column with --data.")
    cores = len(os.sched_getaffinity(0))
    if not 1 <= options.threads <= cores:
        raise UsageError(f"--threads {options.threads}: expected 1 to {cores}, this machine's cores")
    if options.tolerance is not None:
        tolerance.parse(options.tolerance)


def _require_local(options: Options) -> None:
    """UsageError where a URL was given for what is a file here."""
    require_local(options.model, "the model")
    require_file(Path(options.model))
    for given, what in (
        (options.data, "--data"),
        (options.sign, "--sign"),
        (options.run_dir, "--run-dir"),
        (options.traffic if isinstance(options.traffic, str) else None, "--traffic"),
    ):
        if given is not None:
            require_local(given, what)


def terms_of(options: ReplacingOptions) -> Terms:
    """What may be replaced, as it was said."""
    return Terms(
        expected=expected_of(options.expect_version),
        allow_unsigned=options.allow_unsigned,
        allow_contract_change=options.allow_contract_change,
    )


def expected_of(given: int | None) -> int | None:
    """The version that is to serve still; UsageError for what is none."""
    if given is not None and given < NONE:
        raise UsageError(f"--expect-version {given}: expected a version's number, or 0 for none")
    return given


def traffic_of(given: str | Mapping[int, float] | None) -> Traffic:
    """What was said, as text or as ``{1: 0.9, 64: 0.1}``, shares by batch size; else the usual one."""
    if given is None:
        return traffic.default()
    if not isinstance(given, str):
        given = "batch=" + ",".join(f"{batch}:{share}" for batch, share in given.items())
    return traffic.parse(given)


def objective_of(text: str | None, asked: Traffic) -> Objective:
    """What was said, but throughput of an open loop, where it is given; else latency in an open loop and throughput in
    a closed one."""
    said = "throughput" if text is None else slo.objective(text)
    return "latency" if asked.open and said == "throughput" else said


def _tuning(options: Options, asked: Traffic, where: Address) -> tuple[float, bool]:
    """Seconds for tuning, and whether it was asked for; UsageError where it can't be had."""
    budget = options.tune_budget
    if budget is not None and not 0 <= budget <= LONGEST_TUNE_S:
        raise UsageError(f"--tune-budget {budget:g}: expected 0 to {LONGEST_TUNE_S:.0f} seconds")
    if options.slo is not None and (budget == 0 or isinstance(where, NoServer)):
        without = "--triton none" if isinstance(where, NoServer) else "--tune-budget 0"
        raise UsageError(f"--slo with {without}: a limit is measured on a server", "Leave one of the two out.")
    said = options.slo is not None or options.objective is not None or bool(budget)
    said = said or (options.traffic is not None and not asked.assumed.startswith("clients="))
    if isinstance(where, NoServer):
        return 0.0, said
    return (TUNE_S if said else SHORT_TUNE_S) if budget is None else budget, said


def _repository(options: Options) -> Repository | None:
    """The repository that was named, or None; UsageError for a model's own folder, which a typo makes of its
    parent."""
    if options.repository is None:
        return None
    found = at(str(options.repository))
    if not isinstance(found, LocalRepository):
        return found
    path = found.root
    try:
        own = (path / "config.pbtxt").exists()
    except OSError:  # no folder at all: publishing says why
        own = False
    if own:
        raise UsageError(
            f"--repository {options.repository}: this is a model's folder in a repository", f"Give {path.parent}."
        )
    return found


def name_of(model: Path) -> str:
    """A model's name out of its file's: what a name can't hold becomes ``-``."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model.name.split(".")[0]).strip("._-")
    return check_name(plain[:128]) if plain else "model"


def _backends(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    wanted = _named(given if isinstance(given, str) else ",".join(given))
    if not wanted:
        raise UsageError("--backends names none", f"Known backends: {', '.join(backends.known())}.")
    known = backends.known()
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known)
            raise UsageError(f"--backends: unknown backend {name!r}{near}", f"Known: {', '.join(known)}.")
    return wanted


def _other_gpu(options: Options, target: Target) -> bool:
    if options.allow_other_gpu and target.kind != "gpu":
        raise UsageError(f"--allow-other-gpu: the target {target.name} is no GPU", "Name one: --target a100.")
    return options.allow_other_gpu


def _precisions(text: str | None, target: Target) -> tuple[str, ...]:
    if text is None:
        return ()
    wanted = _named(text)
    unknown = [part for part in wanted if part not in backends.PRECISIONS]
    if unknown or not wanted:
        raise UsageError(
            f"--precision {unknown[0] if unknown else text!r}: expected some of {', '.join(backends.PRECISIONS)}",
            "Example: --precision fp32,fp16,int8.",
        )
    lacking = [part for part in wanted if target.precisions and part not in target.precisions]
    if lacking:
        raise UsageError(
            f"--precision {lacking[0]}: the target {target.name} has {', '.join(target.precisions)}",
            f"Leave it out, or change the target in {TARGETS_FILE}.",
        )
    return wanted


def _named(text: str) -> tuple[str, ...]:
    """``a, b,a`` as (a, b)."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _module_path(module: str | None) -> str:
    """The folder that the factory's package is imported from: the present one, or one of PYTHONPATH's; empty where it
    is in neither, and must be installed. UsageError for what isn't package.module:factory."""
    if module is None:
        return ""
    name, _, function = module.partition(":")
    if not all(part.isidentifier() for part in [*name.split("."), function]):
        raise UsageError(
            f"--module {module!r}: expected package.module:factory", "Example: --module training.nets:make."
        )
    top = name.partition(".")[0]
    for folder in (Path.cwd(), *map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))):
        if (folder / f"{top}.py").is_file() or (folder / top).is_dir():
            return str(folder.absolute())
    return ""
