"""What each command is asked to do, beside ``optimize``: its options as a value. Light to import: ``--help`` reads it.

What several commands have is said once, here or in :mod:`millwork.pipeline.options`.
"""

from __future__ import annotations

from typing import Annotated

from ..pipeline.option import ADVANCED, MODEL, PUBLICATION, TRAFFIC, Arg, Opt, Options
from ..pipeline.options import (
    MANAGED,
    Backends,
    ExpectVersion,
    MillworkBackend,
    ModelFile,
    ObjectiveKind,
    RehearseOnServer,
    ReplacingOptions,
    RepositoryUrl,
    ServerCredentials,
    SigningKey,
    SloSpec,
    Task,
    Threads,
    Tolerance,
    TrafficSpec,
    TritonRelease,
    TritonServer,
    Trust,
)
from ..tuning.budget import TUNE_S

# ── what several have ─────────────────────────────────────────────────────────────────────────────────────

PublishedName = Annotated[
    str, Opt("--name", metavar="NAME", help="The model's name in the repository.", panel=PUBLICATION)
]
Version = Annotated[
    int | None,
    Opt("--version", metavar="N", help="The version's number. Default: the one that serves.", panel=PUBLICATION),
]
RunDirectory = Annotated[str, Arg("RUN_DIR", "The folder of a finished run, such as .millwork/NAME.")]
TuneBudget = Annotated[float, Opt("--tune-budget", metavar="SECONDS", help="Time for all trials.", panel=TRAFFIC)]
TuningServer = Annotated[
    str,
    Opt(
        "--triton",
        metavar="WHERE",
        help="The server to tune and verify on: managed, grpc://HOST:PORT (grpcs://, unix:///SOCKET), or the path of a "
        "tritonserver.",
        panel=PUBLICATION,
    ),
]
TunedKey = Annotated[
    str | None,
    Opt(
        "--sign",
        metavar="KEY.pem",
        help="Sign the version with this private key. Needed where the version that serves is signed.",
        panel=PUBLICATION,
    ),
]
TrialsFolder = Annotated[
    str | None,
    Opt("--run-dir", metavar="DIR", help="Where trials are kept. Default: .millwork/NAME.", panel=ADVANCED),
]


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────


class BenchOptions(Options, kw_only=True):
    """``batch``: numbers of rows, between commas."""

    model: ModelFile
    data: Annotated[
        str | None,
        Opt("--data", metavar="FILE", help="Rows to time on. Default: rows made from the model.", panel=MODEL),
    ] = None
    trust: Trust = False
    batch: Annotated[str, Opt("--batch", metavar="A,B", help="Rows of a call.", panel=TRAFFIC)] = "1,64,4096"
    backends: Backends = None
    threads: Threads = 1
    triton_release: TritonRelease = None
    run_dir: Annotated[
        str | None,
        Opt("--run-dir", metavar="DIR", help="Keep the stages there. Default: nothing is kept.", panel=ADVANCED),
    ] = None


class InspectOptions(Options, kw_only=True):
    """What ``inspect`` reads."""

    model: Annotated[
        str, Arg("MODEL", "The model's file, as optimize takes it; or a published model, REPOSITORY/NAME[/VERSION].")
    ]
    data: Annotated[
        str | None,
        Opt(
            "--data",
            metavar="FILE",
            help="Rows that have every category, where the model holds only their hashes.",
            panel=MODEL,
        ),
    ] = None
    label: Annotated[str | None, Opt("--label", metavar="NAME", help="The label's column in --data.", panel=MODEL)] = (
        None
    )
    task: Task = None
    trust: Annotated[bool, Opt("--trust", help="The model is yours: read it without a sandbox.", panel=MODEL)] = False


# ── what is published ─────────────────────────────────────────────────────────────────────────────────────


class PublishOptions(ReplacingOptions, kw_only=True):
    """What ``publish`` publishes, and where."""

    run_dir: RunDirectory
    repository: RepositoryUrl
    sign: SigningKey = None
    triton: TritonServer = MANAGED
    millwork_backend: MillworkBackend = False
    rehearse_on_server: RehearseOnServer = False
    tolerance: Tolerance = None
    model: Annotated[
        str | None,
        Opt(
            "--model",
            metavar="FILE",
            help="The model's file: what is published is checked against it again. Default: where the run read it, if "
            "it is there as it was.",
            panel=MODEL,
        ),
    ] = None


class RollbackOptions(ServerCredentials, kw_only=True):
    """What ``rollback`` lets serve again."""

    repository: RepositoryUrl
    name: PublishedName
    version: Annotated[
        int | None,
        Opt(
            "--version",
            metavar="N",
            help="The version's number. Default: the one that served before.",
            panel=PUBLICATION,
        ),
    ] = None
    expect_version: ExpectVersion = None
    triton: TritonServer = MANAGED


class VerifyOptions(Options, kw_only=True):
    """Either ``run_dir``, or ``repository`` and ``name``."""

    run_dir: RunDirectory | None = None
    repository: RepositoryUrl | None = None
    name: PublishedName | None = None
    version: Version = None
    key: Annotated[
        str | None,
        Opt(
            "--key",
            metavar="FILE",
            help="A public key (PEM): it must have signed the version.",
            panel=PUBLICATION,
        ),
    ] = None


class PredictOptions(Options, kw_only=True):
    """What ``predict`` runs, on which rows, and where the answers go."""

    rows: Annotated[
        str,
        Opt(
            "--input",
            metavar="FILE",
            help="Rows, as --data of optimize takes them.",
            panel=MODEL,
        ),
    ]
    answers: Annotated[
        str, Opt("--output", metavar="FILE.npy", help="Where the answers go: float32 [rows, outputs].", panel=MODEL)
    ]
    trust: Annotated[bool, Opt("--trust", help="The version is yours: run it without a sandbox.", panel=MODEL)] = False
    repository: RepositoryUrl
    name: PublishedName
    version: Version = None


class TuneOptions(ServerCredentials, kw_only=True):
    """What ``tune`` tunes, under what."""

    name: Annotated[str, Arg("MODEL_NAME", "The model's name in the repository.")]
    repository: RepositoryUrl
    data: Annotated[
        str | None,
        Opt("--data", metavar="FILE", help="Rows to send. Default: the version's golden rows.", panel=MODEL),
    ] = None
    slo: SloSpec = None
    traffic: TrafficSpec = None
    objective: ObjectiveKind = None
    tune_budget: TuneBudget = TUNE_S
    dry_run: Annotated[bool, Opt("--dry-run", help="Do everything but publish.", panel=PUBLICATION)] = False
    sign: TunedKey = None
    triton: TuningServer = MANAGED
    millwork_backend: MillworkBackend = False
    run_dir: TrialsFolder = None


class RetuneOptions(ServerCredentials, kw_only=True):
    """Where ``retune`` looks, and whether it acts. What ``apply`` alone uses: the budget, the server, the key, the
    folder."""

    name: Annotated[
        str | None,
        Arg(
            "MODEL_NAME",
            "The model's name. Not needed if the repository and the metrics have exactly one model in common.",
        ),
    ] = None
    repository: RepositoryUrl
    metrics: Annotated[
        str | None,
        Opt("--metrics", metavar="URL", help="Triton's counters: http://HOST:8002/metrics.", panel=TRAFFIC),
    ] = None
    prometheus: Annotated[
        str | None,
        Opt("--prometheus", metavar="URL", help="A Prometheus that scrapes it: http://HOST:9090.", panel=TRAFFIC),
    ] = None
    metrics_ca: Annotated[
        str | None,
        Opt(
            "--metrics-ca",
            metavar="FILE",
            help="Certificates (PEM) of who vouches for the https:// of --metrics or --prometheus.",
            panel=TRAFFIC,
        ),
    ] = None
    metrics_cert: Annotated[
        str | None,
        Opt("--metrics-cert", metavar="FILE", help="Your certificate (PEM). With --metrics-key.", panel=TRAFFIC),
    ] = None
    metrics_key: Annotated[
        str | None,
        Opt("--metrics-key", metavar="FILE", help="The private key (PEM) of --metrics-cert.", panel=TRAFFIC),
    ] = None
    metrics_header: Annotated[
        tuple[str, ...],
        Opt(
            "--metrics-header",
            metavar="'NAME: VALUE'",
            help="A header for each request; may be repeated. A secret is better in MILLWORK_METRICS_HEADERS, one "
            "header a line.",
            panel=TRAFFIC,
        ),
    ] = ()
    seconds: Annotated[
        float | None,
        Opt(
            "--seconds",
            metavar="N",
            help="Seconds to observe. Default: 10 with --metrics, the last 3600 with --prometheus.",
            panel=TRAFFIC,
        ),
    ] = None
    apply: Annotated[
        bool,
        Opt(
            "--apply",
            help="Tune under the traffic that was seen, and publish. --tune-budget, --triton, --millwork-backend, "
            "--sign and --run-dir are for this.",
            panel=PUBLICATION,
        ),
    ] = False
    tune_budget: TuneBudget = TUNE_S
    sign: TunedKey = None
    triton: TuningServer = MANAGED
    millwork_backend: MillworkBackend = False
    run_dir: TrialsFolder = None


# ── tools ─────────────────────────────────────────────────────────────────────────────────────────────────


class DoctorOptions(Options, kw_only=True):
    """Which repository is looked at, beside the machine."""

    repository: Annotated[
        str | None,
        Opt(
            "--repository",
            metavar="URL",
            help="Say, too, which publications into this repository aren't finished.",
            panel=PUBLICATION,
        ),
    ] = None


class ServeOptions(Options, kw_only=True):
    """What ``triton serve`` serves, and on which ports; None for a free one."""

    repository: Annotated[str, Opt("--repository", metavar="PATH", help="The folder of models.", panel=MODEL)]
    names: Annotated[
        tuple[str, ...],
        Opt("--name", metavar="NAME", help="A model to load; may be repeated. Default: all there are.", panel=MODEL),
    ] = ()
    grpc_port: Annotated[int | None, Opt("--grpc-port", metavar="PORT", help="Port for gRPC. Default: a free one.")] = (
        None
    )
    http_port: Annotated[int | None, Opt("--http-port", metavar="PORT", help="Port for HTTP. Default: a free one.")] = (
        None
    )
    metrics_port: Annotated[
        int | None, Opt("--metrics-port", metavar="PORT", help="Port for metrics. Default: a free one.")
    ] = None
