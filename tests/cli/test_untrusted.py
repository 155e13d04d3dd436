"""What a file, a model, a path or a server says is printed as it is: it steers no terminal, and it is no markup."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import catboost as cb
import msgspec
import numpy as np
import pytest
from models import records
from models.jobs import Desk, Said, millwork

from millwork import toolchains
from millwork.cli import app
from millwork.commands import doctor as doctor_command
from millwork.commands import retune as retune_command
from millwork.commands import tune as tune_command
from millwork.environments import Environment
from millwork.errors import MillworkError, PublicationError
from millwork.pipeline import optimize as pipeline
from millwork.triton import client, install, server
from millwork.triton.counters import Observed
from millwork.tuning.fitness import Fitness
from millwork.values import Figures, Headroom, Record, TrialRecord, Tuning

EVIL = "\x1b]0;x\x07\x1b[2K[/x][red]\u202e\x9b2J"
SEEN = "[/x][red]"
"""Of it, what a person may see."""

FIGURES = Figures(
    requests_per_s=10.0,
    rows_per_s=10.0,
    p50_us=1.0,
    p90_us=1.0,
    p99_us=1.0,
    tail_us=1.0,
    mean_us=1.0,
    samples=10,
    rounds=1,
)


def harmless(said: Said, code: int = 0, seen: str = SEEN) -> None:
    """It ended as it would with other names, and nothing of them but text came out."""
    assert said.code == code, said.err
    written = said.out + said.err
    assert seen in "".join(written.split()), written
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", written), repr(written)


def trial(number: int) -> TrialRecord:
    return TrialRecord(id=number, candidate=EVIL, backend=EVIL, settings={}, words=EVIL, figures=FIGURES)


@pytest.fixture
def record() -> Record:
    """Every text that a terminal gets of a run."""
    publication = records.PUBLISHED.publication
    assert publication is not None
    return msgspec.structs.replace(
        records.PUBLISHED,
        candidates=tuple(msgspec.structs.replace(c, id=EVIL, reason=EVIL) for c in records.PUBLISHED.candidates),
        winner=msgspec.structs.replace(records.WON, id=EVIL, why=EVIL),
        publication=msgspec.structs.replace(publication, repository=EVIL, name=EVIL, server=EVIL),
        tuning=Tuning(
            triton=EVIL,
            config=EVIL,
            best=trial(1),
            default=trial(2),
            trials=(trial(1), trial(2)),
            traffic=EVIL,
            why=EVIL,
            limited_by=EVIL,
            server=EVIL,
            headroom=Headroom(points=(), rate=10.0, breaks_at=20.0, limit=EVIL),
        ),
        run_dir=f"/runs/{EVIL}",
    )


ENDINGS = pytest.mark.parametrize("error", [None, PublicationError(EVIL, EVIL)], ids=["ends well", "fails"])


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────


@ENDINGS
@pytest.mark.parametrize("command", ["optimize", "bench"])
def test_a_run(command: str, error: MillworkError | None, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_options: object, progress: Any) -> pipeline.Outcome:
        progress.begin(EVIL, EVIL)
        progress.detail(EVIL)
        progress.end(EVIL)
        progress.note(EVIL)
        return pipeline.Outcome(record, error)

    monkeypatch.setattr(pipeline, "optimize", run)
    harmless(millwork(command, EVIL), 0 if error is None else 7)


@ENDINGS
def test_tune(error: MillworkError | None, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_command, "tune", lambda *_: (record, error))
    harmless(millwork("tune", "clicks", "--repository", "models"), 0 if error is None else 7)


@ENDINGS
@pytest.mark.parametrize("applied", [True, False])
def test_retune(applied: bool, error: MillworkError | None, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Observed(
        seconds=1.0,
        requests=1.0,
        failures=0.0,
        rate=1.0,
        rows_a_request=1.0,
        rows_a_call=1.0,
        queue_us=1.0,
        compute_us=1.0,
        pending=0.0,
    )
    found = retune_command.Retuned(
        name=EVIL,
        observed=seen,
        now=EVIL,
        fitness=Fitness(fits=False, signs=(EVIL,)),
        proposed=EVIL,
        tuned_for=EVIL,
        record=record if applied else None,
    )
    monkeypatch.setattr(retune_command, "retune", lambda *_: (found, error))
    asked = ("retune", "--repository", "models", "--metrics", "http://127.0.0.1:1/metrics")
    harmless(millwork(*asked), 0 if error is None else 7)


# ── models, and paths ─────────────────────────────────────────────────────────────────────────────────────


def test_inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, labels and categories of a model that somebody made."""
    rng = np.random.default_rng(0)
    words = np.array([f"a{EVIL}", "b"])[rng.integers(0, 2, 60)]
    rows = [[number, word] for number, word in zip(rng.normal(size=60), words, strict=True)]
    pool = cb.Pool(
        rows,
        np.array([f"yes{EVIL}", "no"])[rng.integers(0, 2, 60)],
        cat_features=[1],
        feature_names=[f"height{EVIL}", f"word{EVIL}"],
    )
    model = cb.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False, one_hot_max_size=9)
    path = tmp_path / f"{EVIL.replace('/', '')}.json"
    model.fit(pool).save_model(str(path), format="json", pool=pool)
    monkeypatch.setenv("COLUMNS", "400")
    said = millwork("inspect", path)
    harmless(said)
    assert said.out.count("[/x]") == 3, "a number, a category, a label"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of such a name, which is two, since it has a slash."""
    folder = tmp_path / EVIL
    folder.mkdir(parents=True)
    return folder


def test_verify_publish_and_rollback(desk: Desk, odd: Path) -> None:
    shutil.copytree(desk.run_dir, odd / "run")
    harmless(millwork("verify", odd / "run"))
    where = ("--repository", odd / "models", "--triton", "none")
    harmless(millwork("publish", odd / "run", *where), seen="version1ofagain")
    harmless(millwork("verify", "--repository", odd / "models", "--name", "again"))
    harmless(millwork("rollback", *where, "--name", "again", "--version", "1"), seen="version1ofagain")
    harmless(millwork("rollback", *where, "--name", EVIL), 2)
    (odd / "models" / "again" / "1" / f"{EVIL.replace('/', '')}.py").touch()
    said = millwork("verify", "--repository", odd / "models", "--name", "again")
    harmless(said, 3)
    assert r"[x][red]\u202e\x9b2J.py was added" in said.err


def test_predict(desk: Desk, odd: Path) -> None:
    where = ("--repository", desk.repository, "--name", "clicks", "--input", desk.files.rows)
    harmless(millwork("predict", *where, "--output", odd / "answers.npy"))


@pytest.mark.parametrize(
    ("words", "code"),
    [((EVIL,), 2), (("inspect", "a", EVIL), 2), ((f"--{EVIL}",), 2), (("inspect", EVIL), 3), (("report", EVIL), 2)],
)
def test_what_was_typed(words: tuple[str, ...], code: int) -> None:
    harmless(millwork(*words), code)


def test_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: str) -> None:
        raise ValueError(EVIL)

    monkeypatch.setattr(doctor_command, "examine", bug)
    said = millwork("doctor")
    harmless(said, 70)
    Path(said.err.split("Details: ")[1].split()[0]).unlink()


# ── tools ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        doctor_command.Finding(what=EVIL, there=there, version=EVIL, hint=EVIL, purpose=EVIL) for there in (True, False)
    ]
    monkeypatch.setattr(doctor_command, "examine", lambda _: found)
    monkeypatch.setenv("COLUMNS", "300")
    harmless(millwork("doctor"))


def test_toolchains(monkeypatch: pytest.MonkeyPatch) -> None:
    standing = toolchains.Standing(name="hummingbird", purpose="converts", mb=1, path=EVIL)
    monkeypatch.setattr(toolchains, "standings", lambda: [standing])
    harmless(millwork("toolchain", "list"))
    monkeypatch.setattr(toolchains, "install", lambda *_: Environment(path=EVIL))
    harmless(millwork("toolchain", "install", "hummingbird"))


@pytest.mark.parametrize("installed", [True, False])
def test_triton_status(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = install.Status(
        installed=installed,
        path=EVIL,
        triton="2.51.0",
        release="24.10",
        python=EVIL,
        bytes=1,
        packages={"numpy": EVIL},
        problems=(EVIL,),
    )
    monkeypatch.setattr(install, "status", lambda: found)
    harmless(millwork("triton", "status"))


class Running:
    """A server that Ctrl-C ends."""

    grpc_url, http_url, metrics_url, log = "grpc://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", EVIL

    def ended(self, _seconds: float) -> int | None:
        raise KeyboardInterrupt


class Session:
    """It has two models, and one of them doesn't load."""

    def __init__(self, _url: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def models(self) -> list[str]:
        return [EVIL, f"fine{EVIL}"]

    def load(self, name: str) -> None:
        if name == EVIL:
            raise PublicationError(f"failed to load '{EVIL}': no field 'a'\nunclosed [/b]")

    def versions(self, name: str) -> list[int]:
        return [] if name == EVIL else [1]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A managed Triton of such a server; its repository."""

    def installed(announce: Callable[[str], None]) -> install.Installation:
        announce(EVIL)
        return install.Installation(
            server="", backends="", caches="", libraries=(), environment=Environment(path=EVIL), version=EVIL
        )

    @contextlib.contextmanager
    def start(*_: object, **__: object) -> Iterator[Running]:
        yield Running()

    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(install, "install", installed)
    monkeypatch.setattr(install, "provide", lambda *_: None)
    monkeypatch.setattr(server, "start", start)
    monkeypatch.setattr(client, "Session", Session)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_triton_install_and_serve(faked: Path) -> None:
    harmless(millwork("triton", "install"))
    said = millwork("triton", "serve", "--repository", faked)
    harmless(said)
    assert "✗ failed to load" in said.err
    assert "unclosed [/b]" in said.err
    assert re.search(r"^  fine.* version 1$", said.err, re.MULTILINE), "the other is served"


@pytest.mark.parametrize("command", [("triton", "install"), ("triton", "serve", "--repository")])
def test_a_spinner(command: tuple[str, ...], faked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal; its own escapes are rich's."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    said = millwork(*command, *([faked] if command[-1] == "--repository" else []))
    assert said.code == 0, said.err
    assert "\x1b[?25l" in said.err, "it was no terminal"
    assert not re.search(r"\x1b\]|[\x07\u202e\x9b]", said.err)


def test_every_command_is_here_or_prints_nothing_of_others() -> None:
    tested = {
        "optimize",
        "bench",
        "tune",
        "retune",
        "inspect",
        "verify",
        "publish",
        "rollback",
        "predict",
        "doctor",
        "toolchain",
        "triton",
    }
    answers_only = {"report", "worker"}
    assert set(app.COMMANDS) == tested | answers_only
