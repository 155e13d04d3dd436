"""Files that a user names: a digest is of what is there, and a change is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millwork.errors import UsageError
from millwork.storage import inputs


def test_a_change_of_the_content_is_seen_though_size_and_time_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\n")
    found = inputs.rows(path)
    assert not found.changed()
    path.touch()
    assert not found.changed(), "the same content, written again"
    status = path.stat()
    path.write_text("a\n2\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert found.changed()
    path.unlink()
    assert found.changed()


def test_a_folder_changes_with_each_of_its_files(tmp_path: Path) -> None:
    for name in ("0.parquet", "1.parquet"):
        (tmp_path / name).write_bytes(b"rows")
    found = inputs.rows(tmp_path)
    (tmp_path / "_SUCCESS").touch()
    assert not found.changed()
    (tmp_path / "2.parquet").write_bytes(b"rows")
    assert found.changed()
    (tmp_path / "2.parquet").unlink()
    assert inputs.rows(tmp_path).sha256 == found.sha256
    (tmp_path / "1.parquet").rename(tmp_path / "3.parquet")
    assert inputs.rows(tmp_path).sha256 != found.sha256


def test_nothing_stands_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rows\.csv: there is no such file"):
        inputs.rows(tmp_path / "rows.csv")
    with pytest.raises(FileNotFoundError):
        inputs.look_at(tmp_path / "model.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/model.pkl", "--data must be on this machine, and this is in an object store"),
        ("GS://bucket/rows.parquet", "in an object store"),
        (Path("s3://bucket/model.pkl"), "in an object store"),
        ("https://host/model.pkl", r"this is a URL \(https:\)"),
        ("models:/churn/1", "in a model registry"),
        ("file:///a/model.pkl", "named by a path, not by a URL\nGive /a/model.pkl."),
    ],
)
def test_what_is_on_another_machine_is_refused_by_name(text: str | Path, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        inputs.require_local(text, "--data")


def test_a_path_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run:").mkdir()
    (tmp_path / "run:" / "rows.csv").touch()
    for text in ("run:/rows.csv", "rows:2.csv", "./s3:/rows.csv", str(tmp_path)):
        inputs.require_local(text, "--data")
