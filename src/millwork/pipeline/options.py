"""What a run is asked to do: each option's type, default and help, once for the command line and for Python.

Light to import: ``--help`` reads it. What it all means is in :mod:`millwork.pipeline.plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from ..values.served import VERIFY_S
from .option import ADVANCED, CANDIDATES, MODEL, PUBLICATION, TRAFFIC, Arg, Opt
from .option import Options as CommandOptions

MANAGED = "managed"
"""The server that millwork installs and starts itself."""


def _targets() -> Iterable[str]:
    from ..targets import TABLE

    return TABLE


def _backends() -> Iterable[str]:
    from ..compile.backends import table

    return table.known()


def _precisions() -> Iterable[str]:
    from ..compile.backends import table

    return table.PRECISIONS


def _tasks() -> Iterable[str]:
    from ..compile.frontends.torch.model_card import TASKS

    return TASKS


def _objectives() -> Iterable[str]:
    from ..tuning.slo import OBJECTIVES

    return OBJECTIVES


# ── options that several commands have ────────────────────────────────────────────────────────────────────

ModelFile = Annotated[
    str,
    Arg(
        "MODEL",
        "The model's file: XGBoost .json or .ubj; CatBoost .cbm or .json; a .pkl or .joblib of either; a torch net as "
        ".pt2 (torch.export), or a state dict with --module. A pickle is never unpickled.",
    ),
]
Task = Annotated[
    str | None,
    Opt(
        "--task",
        metavar="KIND",
        help="The net's task: regression, binary, multiclass or multilabel.",
        panel=MODEL,
        values=_tasks,
    ),
]
Trust = Annotated[
    bool,
    Opt(
        "--trust",
        help="The model is yours: read it without a sandbox. If its framework's own version can't be had, a newer one "
        "may judge.",
        panel=MODEL,
    ),
]
TrafficSpec = Annotated[
    str | Mapping[int, float] | None,
    Opt(
        "--traffic",
        metavar="SPEC",
        help="The requests to expect: 'batch=1:0.9,64:0.1 rate=2000/s', 'batch=64 clients=4', or a recorded file.",
        panel=TRAFFIC,
    ),
]
SloSpec = Annotated[
    str | None,
    Opt(
        "--slo",
        metavar="SPEC",
        help="The limit to keep: 'p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4'.",
        panel=TRAFFIC,
    ),
]
ObjectiveKind = Annotated[
    str | None,
    Opt(
        "--objective",
        metavar="KIND",
        help="What to improve within the limit: throughput, latency or cost.",
        panel=TRAFFIC,
        values=_objectives,
    ),
]
Backends = Annotated[
    str | Sequence[str] | None,
    Opt(
        "--backends",
        metavar="A,B",
        help="Build only these candidates: reference, onnx, fil, native, ...",
        panel=CANDIDATES,
        values=_backends,
        listed=True,
    ),
]
Threads = Annotated[int, Opt("--threads", metavar="N", help="CPU threads of one call.", panel=CANDIDATES)]
RepositoryUrl = Annotated[
    str | Path,
    Opt(
        "--repository",
        metavar="URL",
        help="The Triton model repository: a folder, s3://, gs:// or az://.",
        panel=PUBLICATION,
    ),
]
TritonServer = Annotated[
    str,
    Opt(
        "--triton",
        metavar="WHERE",
        help="The server to measure and verify on: managed, none, grpc://HOST:PORT (grpcs://, unix:///SOCKET), or the "
        "path of a tritonserver.",
        panel=PUBLICATION,
    ),
]
TritonRelease = Annotated[
    str | None,
    Opt(
        "--triton-release",
        metavar="YY.MM",
        help="The Triton release to write for, if no server can be asked.",
        panel=ADVANCED,
    ),
]


class ServerCredentials(CommandOptions, kw_only=True):
    """How a Triton that runs already is met, and how long any is waited for; every command that talks to one has
    these."""

    triton_ca: Annotated[
        str | None,
        Opt(
            "--triton-ca",
            metavar="FILE",
            help="Certificates (PEM) of who vouches for the server of grpcs://. Default: this machine's list.",
            panel=PUBLICATION,
        ),
    ] = None
    triton_cert: Annotated[
        str | None,
        Opt(
            "--triton-cert",
            metavar="FILE",
            help="Your certificate (PEM), where the server wants one. With --triton-key.",
            panel=PUBLICATION,
        ),
    ] = None
    triton_key: Annotated[
        str | None,
        Opt("--triton-key", metavar="FILE", help="The private key (PEM) of --triton-cert.", panel=PUBLICATION),
    ] = None
    triton_header: Annotated[
        tuple[str, ...],
        Opt(
            "--triton-header",
            metavar="'NAME: VALUE'",
            help="A header for each request; may be repeated. A secret is better in MILLWORK_TRITON_HEADERS, one "
            "header a line.",
            panel=PUBLICATION,
        ),
    ] = ()
    verify_timeout: Annotated[
        float,
        Opt(
            "--verify-timeout",
            metavar="SECONDS",
            help="How long the server may take to load a version and to answer its golden rows; and, where that fails, "
            "to load the version before again.",
            panel=PUBLICATION,
        ),
    ] = VERIFY_S


ExpectVersion = Annotated[
    int | None,
    Opt(
        "--expect-version",
        metavar="N",
        help="Only if version N serves now (0: if none does). Default: whichever serves.",
        panel=PUBLICATION,
    ),
]


class ReplacingOptions(ServerCredentials, kw_only=True):
    """What a publication may replace."""

    allow_unsigned: Annotated[
        bool,
        Opt("--allow-unsigned", help="Replace a signed version by one that isn't signed.", panel=PUBLICATION),
    ] = False
    allow_contract_change: Annotated[
        bool,
        Opt(
            "--allow-contract-change",
            help="Replace a version by one that takes or gives something else: features, types, outputs, classes.",
            panel=PUBLICATION,
        ),
    ] = False
    expect_version: ExpectVersion = None


MillworkBackend = Annotated[
    bool,
    Opt(
        "--millwork-backend",
        help="The server has our Triton backend (libtriton_millwork.so): write for it. Noted beside the repository, so "
        "it is said once. A server at grpc:// is asked. Default: for a stock Triton.",
        panel=PUBLICATION,
    ),
]
RehearseOnServer = Annotated[
    bool,
    Opt(
        "--rehearse-on-server",
        help="Before it serves, load the version on the server of --triton under another name, and ask it its golden "
        "rows there. The server must be in explicit mode, with memory for both.",
        panel=PUBLICATION,
    ),
]
Tolerance = Annotated[
    str | None,
    Opt(
        "--tolerance",
        metavar="SPEC",
        help="How far an answer may be from the framework's: abs=NUMBER,rel=NUMBER. Default: derived from the model.",
        panel=CANDIDATES,
    ),
]
SigningKey = Annotated[
    str | Path | None,
    Opt(
        "--sign",
        metavar="KEY.pem",
        help="Sign the version with this private key (elliptic curve, PEM).",
        panel=PUBLICATION,
    ),
]


# ── optimize ──────────────────────────────────────────────────────────────────────────────────────────────


class SharedOptions(ReplacingOptions, kw_only=True):
    """What the command line and Python take alike; None where nothing was said."""

    task: Task = None
    module: Annotated[
        str | None,
        Opt(
            "--module",
            metavar="PKG.MOD:FN",
            help="The function that makes the net which a state dict belongs to.",
            panel=MODEL,
        ),
    ] = None
    output: Annotated[
        str,
        Opt(
            "--output",
            metavar="KIND",
            help="What is served: probability, margin or label.",
            panel=MODEL,
            values=lambda: ("probability", "margin", "label"),
        ),
    ] = "probability"
    trust: Trust = False
    slo: SloSpec = None
    traffic: TrafficSpec = None
    objective: ObjectiveKind = None
    tune_budget: Annotated[
        float | None,
        Opt(
            "--tune-budget",
            metavar="SECONDS",
            help="Time for tuning. Default: 90 if you give a rate, clients, a limit or an objective, else 20. 0: no "
            "tuning.",
            panel=TRAFFIC,
        ),
    ] = None
    target: Annotated[
        str,
        Opt(
            "--target",
            metavar="NAME",
            help="The machine that will serve the model: host (this one), cpu, t4, a100, h100, ...",
            panel=CANDIDATES,
            values=_targets,
        ),
    ] = "host"
    backends: Backends = None
    precision: Annotated[
        str | None,
        Opt(
            "--precision",
            metavar="A,B",
            help="Precisions to build: fp32, fp16, int8, int32. Default: fp32; all of them for a net.",
            panel=CANDIDATES,
            values=_precisions,
            listed=True,
        ),
    ] = None
    tolerance: Tolerance = None
    threads: Threads = 1
    allow_other_gpu: Annotated[
        bool,
        Opt(
            "--allow-other-gpu",
            help="Measure on the GPU that is here, although it isn't the target.",
            panel=CANDIDATES,
        ),
    ] = False
    repository: RepositoryUrl | None = None
    name: Annotated[
        str | None,
        Opt(
            "--name",
            metavar="NAME",
            help="The model's name in the repository. Default: the file's name.",
            panel=PUBLICATION,
        ),
    ] = None
    dry_run: Annotated[
        bool,
        Opt(
            "--dry-run",
            help="Do everything but publish. Without --repository, tune only if asked to.",
            panel=PUBLICATION,
        ),
    ] = False
    sign: SigningKey = None
    triton: TritonServer = MANAGED
    millwork_backend: MillworkBackend = False
    rehearse_on_server: RehearseOnServer = False
    triton_release: TritonRelease = None
    run_dir: Annotated[
        str | Path | None,
        Opt(
            "--run-dir",
            metavar="DIR",
            help="Where stages are kept, so that a run can go on. Default: .millwork/NAME.",
            panel=ADVANCED,
        ),
    ] = None


class Options(SharedOptions, kw_only=True):
    """What the command line takes: files, and where steps run."""

    model: ModelFile
    data: Annotated[
        str | None,
        Opt(
            "--data",
            metavar="FILE",
            help="Rows of your traffic: .parquet (or a folder of it), .csv, .tsv, .feather, .npy, or .npz (array X).",
            panel=MODEL,
        ),
    ] = None
    label: Annotated[
        str | None,
        Opt(
            "--label",
            metavar="NAME",
            help="The label's column in --data. The metric of the model's task is then compared, too.",
            panel=MODEL,
        ),
    ] = None
    executor: Annotated[str, Opt("--executor", metavar="WHERE", help="Where steps run: local.", panel=ADVANCED)] = (
        "local"
    )
