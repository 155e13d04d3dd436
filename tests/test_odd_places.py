"""A pipe, a device, a link or a file of holes where a file should be: one error, at once. And ``~`` in paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from models.jobs import LABEL, QUICK, Desk, millwork, refused

import millwork as library
from millwork.environments import cache_folder
from millwork.errors import UsageError

SPARSE = 200 << 30


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def words(desk: Desk, model: Path, *more: str | Path) -> tuple[str | Path, ...]:
    return ("optimize", model, "--run-dir", desk.run_dir, "--dry-run", *QUICK, *more)


@pytest.mark.parametrize(
    ("name", "said"),
    [("pipe", "a pipe"), ("/dev/zero", "a device"), ("/dev/stdin", "an open file of one process")],
)
def test_what_is_no_file_is_refused_for_every_file_that_is_read(name: str, said: str, desk: Desk) -> None:
    odd = pipe(desk.folder / name) if name == "pipe" else Path(name)
    model, said = desk.files.clicks, f"{odd}: this is not a regular file, but {said}"
    for given in (
        words(desk, odd),
        ("inspect", odd),
        ("bench", odd),
        words(desk, model, "--data", odd),
        words(desk, model, "--traffic", odd),
        words(desk, model, "--sign", odd),
        ("predict", "--repository", desk.repository, "--name", "clicks", "--input", odd, "--output", "o.npy"),
        ("verify", "--repository", desk.repository, "--name", "clicks", "--key", odd),
    ):
        refused(millwork(*given), 2, said)


@pytest.mark.parametrize(
    ("name", "command", "code"),
    [
        ("chosen.json", ("publish", "run", "--repository", "new", "--triton", "none"), 2),
        ("run.json", ("report", "run"), 2),
        ("stages/serve-*/done", ("verify", "run"), 3),
        ("stages/serve-*/version/manifest.json", ("verify", "run"), 3),
    ],
)
def test_a_pipe_in_a_run_directory_is_named(name: str, command: tuple[str, ...], code: int, desk: Desk) -> None:
    for path in desk.run_dir.glob(name):
        path.unlink()
        pipe(path)
    said = millwork(*command)
    assert said.code == code, said.err
    assert Path(name).name in said.err
    assert "a pipe" in said.err or "is missing" in said.err


@pytest.mark.parametrize("name", ["config.pbtxt", "1/manifest.json", "1/config.pbtxt"])
def test_a_pipe_in_a_repository_is_named(name: str, desk: Desk) -> None:
    path = desk.repository / "clicks" / name
    path.unlink()
    pipe(path)
    said = millwork("verify", "--repository", desk.repository, "--name", "clicks")
    assert said.code in (2, 3, 7), said.err
    assert Path(name).name in said.err


@pytest.mark.parametrize("name", ["model.json", "rows.csv", "rows.parquet", "rows.npy", "traffic.jsonl"])
def test_a_file_of_holes_is_refused_before_it_is_read(name: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.folder / name
    path.touch()
    os.truncate(path, SPARSE)
    option = {"rows": "--data", "traffic": "--traffic"}.get(path.stem)
    given = words(desk, path) if option is None else words(desk, desk.files.clicks, option, path)
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it is read whole"))
    refused(
        millwork(*given), 3 if option is None else 2, str(path), "limit of" if option != "--data" else "the limit is"
    )


def test_home_is_meant_by_a_tilde_in_every_path(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(desk.folder))
    (desk.folder / "m.pkl").write_bytes(desk.files.clicks.read_bytes())
    (desk.folder / "d.parquet").write_bytes(desk.files.rows.read_bytes())
    given = ("--data=~/d.parquet", "--label", LABEL, "--repository=~/repo", "--run-dir=~/other")
    assert millwork("optimize", "~/m.pkl", *given, *QUICK).code == 0
    assert millwork("report", "~/other").code == 0
    assert millwork("verify", "--repository=~/repo", "--name=m").code == 0
    asked = ("--repository=~/repo", "--name=m", "--input=~/d.parquet", "--output=~/out.npy")
    assert millwork("predict", *asked).code == 0
    assert (desk.folder / "out.npy").is_file()
    library.optimize(
        "~/m.pkl",
        data=Path("~/d.parquet"),
        label=LABEL,
        run_dir="~/other",
        dry_run=True,
        triton="none",
        backends="onnx",
    )
    assert not (desk.folder / "~").exists()
    monkeypatch.setenv("MILLWORK_CACHE", "~/cache")
    assert cache_folder() == desk.folder / "cache"
    monkeypatch.setenv("MILLWORK_CACHE", "~nobody-of-that-name/cache")
    assert cache_folder() == desk.folder / "~nobody-of-that-name" / "cache"
    with pytest.raises(UsageError, match=str(desk.folder / "gone.parquet")):
        library.optimize("~/m.pkl", data="~/gone.parquet", run_dir="~/other", dry_run=True, triton="none")
