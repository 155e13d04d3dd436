"""The files that a run is told: looked at before any stage, so that an earlier run never stands for one that is missing
or was changed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from models.jobs import COLUMNS, LABEL, QUICK, Desk, millwork, refused

from millwork.errors import UsageError
from millwork.executors import LocalExecutor
from millwork.pipeline import given, plan, stages
from millwork.pipeline.options import Options

LACKING = "there is no such file"


def test_a_file_that_is_not_there_is_never_what_an_earlier_run_read(desk: Desk) -> None:
    """Not the run's without rows, and not the run's with these."""
    words = ("optimize", desk.files.clicks, "--run-dir", desk.run_dir, "--repository", desk.repository, *QUICK)
    assert millwork(*words).code == 0
    refused(millwork(*words, "--data", "typo.parquet"), 2, f"typo.parquet: {LACKING}")
    rows = desk.folder / "rows.parquet"
    desk.files.table().to_parquet(rows)
    assert millwork(*words, "--data", rows, "--label", LABEL).code == 0
    rows.rename(desk.folder / "elsewhere.parquet")
    refused(millwork(*words, "--data", rows, "--label", LABEL), 2, f"rows.parquet: {LACKING}")
    assert not (desk.run_dir / "chosen.json").exists(), "nothing of an earlier run is left to be published"
    (desk.folder / "elsewhere.parquet").rename(rows)
    model = desk.folder / "gone.pkl"
    refused(millwork("optimize", model, *words[2:], "--data", rows), 3, f"gone.pkl: {LACKING}")


def test_rows_that_are_changed_while_they_are_read_are_not_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, run = desk.folder / "rows.parquet", LocalExecutor.run
    desk.files.table().to_parquet(rows)
    first = rows.read_bytes()

    def writes(self: LocalExecutor, step: str, *args: Any, **options: Any) -> Any:
        if step.endswith(":rows"):
            desk.files.table().assign(**{LABEL: 1}).to_parquet(rows)
        return run(self, step, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "run", writes)
        said = desk.optimize(desk.files.clicks, "--data", rows, "--label", LABEL)
    refused(said, 2, "rows.parquet: the file was changed while the run read it")
    rows.write_bytes(first)
    again = desk.optimize(desk.files.clicks, "--data", rows, "--label", LABEL, "--json")
    usual = desk.optimize(desk.files.clicks, "--label", LABEL, "--json")
    metrics = [said.document()["candidates"][0]["parity"]["metric"] for said in (again, usual)]
    assert metrics[0] == metrics[1]


def test_a_model_that_is_changed_later_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    model, check = desk.folder / "clicks.pkl", stages.check
    model.write_bytes(desk.files.clicks.read_bytes())

    def writes(*args: Any) -> Any:
        model.write_bytes(desk.files.again.read_bytes())
        return check(*args)

    monkeypatch.setattr(stages, "check", writes)
    said = desk.optimize(model, "--json")
    assert said.code == 0, said.err
    assert said.document()["notes"][-1].endswith(
        "clicks.pkl was changed while the run went on; it is judged as it was before"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("optimize", "s3://bucket/m.pkl"),
        ("inspect", "https://host/m.pkl"),
        ("bench", "models:/churn/1"),
        ("optimize", "m.pkl", "--data", "gs://bucket/rows.parquet"),
        ("predict", "--repository", "models", "--name", "m", "--input", "s3://b/rows.npy", "--output", "out.npy"),
        ("tune", "m", "--repository", "models", "--data", "az://b/rows.npy"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_is_in_an_object_store_is_refused_by_name(words: tuple[str, ...], desk: Desk) -> None:
    refused(millwork(*words), 2, "must be on this machine", "Copy it here first")


# ── a net's module ────────────────────────────────────────────────────────────────────────────────────────


def digest(folder: Path, module: str) -> str:
    (folder / "m.pkl").write_bytes(b"weights")
    understood, _ = plan.understand(Options(model=str(folder / "m.pkl"), module=module, triton="none"))
    return given.look_at(understood).module_sha256


def test_a_factory_is_what_it_imports_and_reads_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text("from layers import Layer\nimport torch\nSIZES = 'sizes.json'\n")
    (tmp_path / "layers.py").write_text("from blocks.block import B\n")
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "block.py").write_text("B = 1\n")
    (tmp_path / "sizes.json").write_text("[1]")
    (tmp_path / "other.py").write_text("x = 1\n")
    found = digest(tmp_path, "nets:make")
    (tmp_path / "other.py").write_text("x = 2\n")
    assert digest(tmp_path, "nets:make") == found
    for name, text in (("nets.py", "import layers\n"), ("blocks/block.py", "B = 2\n"), ("sizes.json", "[2]")):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(f"{before}{text}")
        assert digest(tmp_path, "nets:make") != found, name
        (tmp_path / name).write_text(before)
    assert digest(tmp_path, "nets:make") == found


def test_a_module_that_is_installed_counts_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "installed"
    (installed / "their_nets").mkdir(parents=True)
    (installed / "their_nets" / "__init__.py").write_text("")
    (installed / "their_nets" / "nets.py").write_text("A = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    importlib.invalidate_caches()
    found = digest(tmp_path, "their_nets.nets:make")
    (installed / "their_nets" / "nets.py").write_text("A = 2\n")
    assert digest(tmp_path, "their_nets.nets:make") != found
    with pytest.raises(UsageError, match="--module nowhere:make: there is no module 'nowhere'"):
        digest(tmp_path, "nowhere:make")
    assert "their_nets" not in sys.modules, "looked at, not run"


def test_rows_of_a_folder_are_judged_as_those_of_a_file(desk: Desk) -> None:
    """Through the whole run: the sandbox lets the step read them, and what a link among them points at."""
    table = desk.files.table()
    (desk.folder / "rows").mkdir()
    (desk.folder / "rows" / "1.parquet").symlink_to(desk.folder / "blob")
    table[:200].to_parquet(desk.folder / "rows" / "0.parquet")
    table[200:][[LABEL, *COLUMNS[::-1]]].to_parquet(desk.folder / "blob")
    whole, parts = (
        desk.optimize(desk.files.clicks, "--data", rows, "--label", LABEL, "--json").document()["candidates"][0]
        for rows in (desk.files.rows, desk.folder / "rows")
    )
    assert parts["parity"]["metric"] == whole["parity"]["metric"]
