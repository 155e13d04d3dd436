"""The main job where the machine, or whoever starts it, gives too little: exit 2 or 5 with the reason and a next step.

Never 3 (the model's), never 70 (a bug), no traceback.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import xgboost
from models.jobs import Said

from millwork.commands import faults, surroundings
from millwork.errors import MachineError, MillworkError, ModelError, PublicationError, UsageError
from millwork.storage import machine

OPTIMIZE = Path(sys.executable).with_name("optimize")
QUICK = "--dry-run --triton none --backends native --traffic batch=1"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.json"
    rows = [[float(i), float(-i)] for i in range(40)]
    trained = xgboost.XGBClassifier(n_estimators=2, max_depth=2, n_jobs=1).fit(rows, [i % 2 for i in range(40)])
    trained.save_model(path)
    return path


def optimize(model: Path, folder: Path, before: str = "", more: str = "", **variables: str) -> Said:
    """``optimize`` by a shell that does ``before`` first, in ``folder``."""
    script = f'{before}\nexec "{OPTIMIZE}" "$MODEL" {QUICK} {more}'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "MODEL": str(model), **variables},
        capture_output=True,
        timeout=300,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def told(said: Said, code: int, *phrases: str) -> None:
    assert said.code == code, said.err
    assert "Traceback" not in said.err
    assert "a bug in millwork" not in said.err
    for phrase in phrases:
        assert phrase in said.err


@pytest.mark.parametrize(
    ("before", "code", "phrases"),
    [
        ("ulimit -f 8", 2, ("may write files of 8,192 bytes", "Raise ulimit -f")),
        ("ulimit -v 900000", 5, ("may use 0.86 GiB of memory", "Raise ulimit -v")),
        ("ulimit -v 2000000", 5, ("not enough memory: this process may use 1.9 GiB (ulimit -v)",)),
        ("ulimit -n 20", 5, ("may have 20 open files", "Raise ulimit -n")),
        ("mkdir gone; cd gone; rmdir ../gone", 2, ("the working folder was removed", "cd")),
        ("export TMPDIR=$'/t\\xe9mp'", 2, ("TMPDIR", "isn't text in UTF-8")),
        ("mkdir $'f\\xe9'; cd $'f\\xe9'", 2, ("the working folder", "isn't text in UTF-8")),
        ("cp $MODEL $'m\\xe9.json'; MODEL=$'m\\xe9.json'", 2, ("MODEL", "isn't text in UTF-8", "Rename it")),
    ],
)
def test_what_would_stop_a_run_is_said_before_it(
    model: Path, tmp_path: Path, before: str, code: int, phrases: tuple[str, ...]
) -> None:
    told(optimize(model, tmp_path, before), code, *phrases)


def test_a_run_ends_well_with_few_files_an_ignored_signal_and_a_plain_locale(model: Path, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    said = optimize(model, tmp_path, "ulimit -n 80; trap '' CHLD", "--run-dir run", **plain)
    told(said, 0)
    assert (tmp_path / "run" / "run.json").is_file()
    odd = tmp_path / "modèle.json"
    odd.write_bytes(model.read_bytes())
    told(optimize(odd, tmp_path, **plain), 2, "isn't ascii", "LC_ALL=C.UTF-8")


def test_a_full_disk_is_named_whatever_met_it(model: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=250k", "x", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no mount")
    try:
        told(
            optimize(model, tmp_path, more=f"--run-dir {small}/run"), 2, f"{small}/run", "the disk is full", "Free some"
        )
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(UsageError, match="no temporary folder can be written") as caught:
        surroundings.require()
    assert "TMPDIR" in caught.value.hint


def test_threads_that_cannot_be_started_are_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS would send this process the signal of Ctrl-C."""
    own = resource.getrlimit

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1, 1) if which == resource.RLIMIT_NPROC else own(which))
    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(MachineError, match=r"no more threads or processes .*: this user may have 1"):
        surroundings.require()


def test_ctrl_c_while_the_program_is_imported_is_one_word() -> None:
    script = (
        "import os, signal, sys; sys.argv[0] = 'bin/millwork'\n"
        "from millwork.cli import early\n"
        "os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "stopped")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "full", "/no/such/place"), 2, "/no/such/place: the disk is full"),
        (OSError(errno.EDQUOT, "quota", "/no/such/place"), 2, "/no/such/place: the disk quota is used up"),
        (OSError(errno.EFBIG, "big", "/no/such/place"), 2, "/no/such/place: the file would be larger"),
        (OSError("262144 requested and 1000 written"), 2, "the disk is full"),
        (OSError(errno.EIO, "io", "/no/such/place"), 2, "/no/such/place"),
        (OSError(errno.EMFILE, "many"), 5, "too many open files"),
        (OSError(errno.EAGAIN, "fork"), 5, "no more threads or processes"),
        (RuntimeError("can't start new thread"), 5, "no more threads or processes"),
        (MemoryError(), 5, "not enough memory"),
        (ChildProcessError(errno.ECHILD, "none"), 5, "SIGCHLD"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []"), 2, "no temporary folder"),
        (UnicodeEncodeError("utf-8", "m\udce9.json", 1, 2, "surrogates not allowed"), 2, "isn't text"),
        (PermissionError(errno.EACCES, "denied", "/srv/models/m"), 2, "/srv/models/m: permission denied"),
        (PermissionError(errno.EACCES, "denied", f"{tempfile.gettempdir()}/millwork-x"), 2, "millwork-x: permission"),
        (IsADirectoryError(errno.EISDIR, "folder", "/srv/models/m"), 2, "/srv/models/m: this is a folder"),
    ],
)
def test_every_refusal_of_the_system_has_its_place(error: Exception, code: int, said: str) -> None:
    found = faults.known(error, "optimize")
    assert found is not None
    assert found.exit_code == code
    assert said in found.message
    assert found.hint


def test_a_refusal_is_the_publications_where_one_was_asked_for() -> None:
    error = PermissionError(errno.EACCES, "denied", "/srv/models/m")
    assert isinstance(faults.known(error, "publish"), PublicationError)
    assert isinstance(faults.known(error, "verify"), ModelError)
    assert faults.known(ValueError("a bug"), "verify") is None


def test_the_cause_decides_and_not_what_was_made_of_it() -> None:
    def raised(message: type[MillworkError], cause: Exception) -> MillworkError:
        try:
            raise message("said") from cause
        except MillworkError as error:
            return error

    full = OSError(errno.ENOSPC, "full", "/no/such/place")
    assert isinstance(machine.blame(raised(ModelError, full)), UsageError)
    assert isinstance(machine.blame(raised(ModelError, ValueError("damaged"))), ModelError)
    published = raised(PublicationError, full)
    assert machine.blame(published) is published, "it says what serves"
