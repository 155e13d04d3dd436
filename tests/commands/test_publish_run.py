"""A run directory is data: whoever made it, nothing of it runs, and what it claims is looked at before publication."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import jobs
from models.jobs import Desk, millwork, refused

from millwork.artifacts import package_code
from millwork.storage import wire
from millwork.storage.files import digests, sha256_file
from millwork.storage.run_cover import cover
from millwork.storage.run_directory import DONE_FILE, Done

NATIVE = ("--triton", "none", "--backends", "native", "--traffic", "batch=1")


@pytest.fixture
def native(desk: Desk) -> Desk:
    """With a dry run of a ``native`` winner, which is written for the python backend."""
    said = desk.optimize(desk.files.again, "--dry-run", "--name", "clicks", quick=NATIVE)
    assert said.code == 0, said.err
    return desk


def bundles(run_dir: Path) -> list[Path]:
    """The folders of what the run chose."""
    return [run_dir / "stages" / name for name in json.loads((run_dir / "chosen.json").read_text())]


def forge(run_dir: Path, edit: Callable[[Path, dict[str, Any]], None]) -> None:
    """``edit(version folder, manifest)`` each bundle, and write every digest anew, as somebody would who knows how."""
    for stage in bundles(run_dir):
        version = stage / "version"
        manifest = json.loads((version / "manifest.json").read_text())
        edit(version, manifest)
        for entry in manifest["files"]:
            path = version / entry["path"]
            entry.update(sha256=sha256_file(path), bytes=path.stat().st_size)
        (version / "manifest.json").write_text(json.dumps(manifest))
        key = wire.decode((stage / DONE_FILE).read_bytes(), Done).key
        (stage / DONE_FILE).unlink()
        (stage / DONE_FILE).write_bytes(wire.encode(Done(key=key, files=digests(stage))))


def forge_record(run_dir: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((run_dir / "run.json").read_text())
    edit(record)
    (run_dir / "run.json").write_text(json.dumps(record))
    cover(run_dir)


def publish(desk: Desk, *words: str | Path) -> jobs.Said:
    return millwork("publish", desk.run_dir, "--repository", desk.repository, "--triton", "none", *words)


def nothing_came_of_it(desk: Desk, before: dict[str, bytes]) -> None:
    assert jobs.contents(desk.repository / "clicks") == before


def test_what_a_run_chose_is_proved_again_and_published(native: Desk) -> None:
    said = publish(native)
    assert said.code == 0, said.err
    assert "native-fp32: proved again on" in said.err
    assert "isn't this millwork's" not in said.err


def test_code_is_the_packages_whatever_the_run_directory_holds(native: Desk) -> None:
    def edit(version: Path, manifest: dict[str, Any]) -> None:
        for name in ("model.py", "millwork_runner.py", "labels.py", "libmillwork_kernel.so"):
            if (version / name).exists():
                (version / name).write_bytes((version / name).read_bytes() + b"\nraise SystemExit('somebody else')\n")

    forge(native.run_dir, edit)
    said = publish(native)
    assert said.code == 0, said.err
    assert "model.py of the run directory isn't this millwork's: this millwork's is published" in said.err.replace(
        "\n", " "
    ).replace("labels.py, libmillwork_kernel.so, millwork_runner.py, ", "")
    served = native.repository / "clicks" / "2"
    assert (served / "model.py").read_bytes() == package_code.MODEL_PY.read_bytes()
    for name, path in package_code.for_python("native_runner").items():
        assert (served / name).read_bytes() == path.read_bytes()
    assert b"somebody else" not in b"".join(jobs.contents(served).values())


def test_a_file_that_millwork_does_not_write_is_refused(native: Desk) -> None:
    before = jobs.contents(native.repository / "clicks")

    def edit(version: Path, manifest: dict[str, Any]) -> None:
        (version / "sitecustomize.py").write_text("raise SystemExit\n")
        manifest["files"].append({"path": "sitecustomize.py", "sha256": "", "bytes": 0})

    forge(native.run_dir, edit)
    refused(publish(native), 3, "sitecustomize.py isn't a file that millwork writes")
    nothing_came_of_it(native, before)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('default_model_filename: "../../other/1/model.py"', "default_model_filename"),
        ('parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/nowhere/env" } }', "EXECUTION_ENV_PATH"),
        ('model_operations { op_library_filename: "/nowhere/evil.so" }', "model_operations"),
        ('model_warmup { inputs { key: "input__0" value { input_data_file: "../../x" } } }', "model_warmup"),
    ],
)
def test_a_configuration_that_millwork_does_not_write_is_refused(native: Desk, line: str, field: str) -> None:
    before = jobs.contents(native.repository / "clicks")

    def edit(version: Path, manifest: dict[str, Any]) -> None:
        result = version.parent / "result.json"
        prepared = json.loads(result.read_text())
        prepared["config"] += line + "\n"
        result.write_text(json.dumps(prepared))

    forge(native.run_dir, edit)
    refused(publish(native), 3, "config.pbtxt says what millwork doesn't write", field)
    nothing_came_of_it(native, before)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("requirements", ["git+https://example.org/x"], "asks for the package"),
        ("runner", "xgboost_runner", "isn't run by 'xgboost_runner'"),
        ("triton_backend", "pytorch", "isn't served by Triton's 'pytorch'"),
        ("parameters", {"threads": "1", "isa": "/nowhere/x"}, "looks like a path"),
    ],
)
def test_what_no_candidate_asks_for_is_refused(native: Desk, field: str, value: object, told: str) -> None:
    forge(native.run_dir, lambda _, manifest: manifest.update({field: value}))
    refused(publish(native), 3, told)


def test_another_model_in_its_place_is_refused(native: Desk, tmp_path: Path) -> None:
    """Every digest in the run directory agrees, and the model that it names answers otherwise."""
    other = tmp_path / "other"
    said = native.optimize(native.files.clicks, "--dry-run", "--name", "clicks", "--run-dir", other, quick=NATIVE)
    assert said.code == 0, said.err
    forest = bundles(other)[0] / "version" / "forest.packed"
    before = jobs.contents(native.repository / "clicks")
    forge(native.run_dir, lambda version, _: shutil.copyfile(forest, version / "forest.packed"))
    refused(publish(native), 4, "native-fp32 isn't", "again.pkl, though the run says so")
    nothing_came_of_it(native, before)


def test_golden_rows_that_are_not_the_frameworks_are_refused(native: Desk) -> None:
    def edit(version: Path, manifest: dict[str, Any]) -> None:
        with np.load(version / "golden.npz") as golden:
            x, y = golden["x"], golden["y"]
        np.savez(version / "golden.npz", x=x, y=y[:, ::-1])

    forge(native.run_dir, edit)
    refused(publish(native), 4, "its golden rows aren't the framework's answers")


def test_golden_rows_that_may_be_far_off_are_refused(native: Desk) -> None:
    forge(native.run_dir, lambda _, manifest: manifest.update(golden_abs=0.5))
    refused(publish(native), 4, "its golden rows may be further off")


def test_another_contract_than_the_models_is_refused(native: Desk) -> None:
    forge(native.run_dir, lambda _, manifest: manifest["features"]["names"].reverse())
    refused(publish(native), 3, "its manifest has other features than")


def test_a_verdict_that_failed_is_not_published(native: Desk) -> None:
    wrong = {"leaf_mismatches": 1000}
    forge(native.run_dir, lambda _, manifest: manifest["parity"].update(wrong))
    refused(publish(native), 3, "don't agree on how far it is from the framework")

    def edit(record: dict[str, Any]) -> None:
        for line in record["candidates"]:
            if line["parity"]:
                line["parity"].update(wrong)

    forge_record(native.run_dir, edit)
    refused(publish(native), 4, "native-fp32 has 1,000 wrong leaves")
    forge_record(native.run_dir, lambda record: [line.update(status="failed") for line in record["candidates"]])
    refused(publish(native), 4, "by run.json native-fp32 failed")
    forge_record(native.run_dir, lambda record: record.update(winner=None))
    refused(publish(native), 3, "by run.json the run chose nothing")


def test_a_run_without_a_record_is_not_published(native: Desk) -> None:
    (native.run_dir / "run.json").unlink()
    said = publish(native)
    assert said.code in (2, 3)
    assert "run.json" in said.err


def test_a_model_that_is_not_there_is_said(native: Desk) -> None:
    """What a run directory is then trusted for: docs/trust.md."""
    forge_record(native.run_dir, lambda record: record.update(model_file="/nowhere/again.pkl"))
    said = publish(native)
    assert said.code == 0, said.err
    assert "native-fp32 isn't proved again: the model isn't at /nowhere/again.pkl (--model FILE names it)" in said.err
    refused(publish(native, "--model", native.files.clicks), 2, "--model", "isn't the run's model")
    said = publish(native, "--model", native.files.again)
    assert said.code == 0, said.err
    assert "proved again" in said.err


# ── verify RUN_DIR ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["run.json", "chosen.json", "report.html", "report.md", "client.py"])
def test_verify_names_what_was_changed_beside_the_stages(desk: Desk, name: str) -> None:
    assert millwork("verify", desk.run_dir).code == 0
    path = desk.run_dir / name
    path.write_bytes(path.read_bytes() + b" ")
    refused(millwork("verify", desk.run_dir), 3, f"{name} has changed")
    path.unlink()
    refused(millwork("verify", desk.run_dir), 3, f"{name} is missing")


def test_a_changed_record_is_not_published(desk: Desk) -> None:
    path = desk.run_dir / "run.json"
    path.write_bytes(path.read_bytes() + b" ")
    refused(publish(desk), 3, "not as the run left it: run.json has changed")


def test_a_report_that_is_made_again_is_as_it_was_made(desk: Desk) -> None:
    (desk.run_dir / "report.html").unlink()
    assert millwork("report", desk.run_dir).code == 0
    assert millwork("verify", desk.run_dir).code == 0


def test_verify_says_where_the_record_is_not_covered(desk: Desk) -> None:
    (desk.run_dir / DONE_FILE).unlink()
    said = millwork("verify", desk.run_dir)
    assert said.code == 0
    assert "run.json and the report aren't compared" in said.err
