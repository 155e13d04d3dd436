"""What can be wrong with a net or its rows: each ends with its exit code and one message that says what to do."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.jobs import Said, millwork, refused
from models.nets import Dlrm
from torch import nn

import millwork as library

ROWS, FEATURES, COUNTS = 120, 6, (7, 11, 5, 5)
QUICK = ("--triton", "none", "--backends", "onnx", "--precision", "fp32", "--traffic", "batch=1", "--dry-run", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``numbers.pt2`` takes numbers, ``codes.pt2`` codes too; neither is trained, since no answer matters here."""
    made = tmp_path_factory.mktemp("nets")
    torch.manual_seed(0)
    numbers = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 1))
    library.save_net(numbers, (torch.randn(4, FEATURES),), made / "numbers.pt2", task="binary")
    codes = Dlrm(FEATURES, COUNTS)
    example = (torch.randn(4, FEATURES), torch.zeros(4, len(COUNTS), dtype=torch.int64))
    library.save_net(codes, example, made / "codes.pt2", task="binary")
    return made


def given(path: Path, where: Path, **arrays: Any) -> Said:
    """``optimize`` of the net, on these rows. The run directory, beside the net, keeps what it was read as."""
    np.savez(where / "rows.npz", **{"y": np.arange(ROWS) % 2, **arrays})
    run = path.parent / f"run-{path.stem}"
    return millwork("optimize", path, "--data", where / "rows.npz", "--label", "y", "--run-dir", run, *QUICK)


def numbers(columns: int = FEATURES) -> Any:
    return np.random.default_rng(0).normal(size=(ROWS, columns)).astype(np.float32)


def codes() -> Any:
    return np.random.default_rng(1).integers(0, COUNTS, (ROWS, len(COUNTS)))


# ── the net ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("share", [0.1, 0.999])
def test_a_net_that_was_cut_short(folder: Path, tmp_path: Path, share: float) -> None:
    content = (folder / "numbers.pt2").read_bytes()
    path = tmp_path / "net.pt2"
    path.write_bytes(content[: int(len(content) * share)])
    refused(given(path, tmp_path, X=numbers()), 3, f"{path}: ", "pt2")


def test_a_bit_of_a_weight_that_flipped(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "numbers.pt2").read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weight = max(
            archive.infolist(), key=lambda item: item.file_size if "/data/weights/weight" in item.filename else -1
        )
        start = bytes(content).index(archive.read(weight))
    content[start + 5] ^= 0x10
    path = tmp_path / "net.pt2"
    path.write_bytes(content)
    refused(given(path, tmp_path, X=numbers()), 3, f"{path}: ", "CRC-32", "copy it again")


def test_a_net_whose_batch_was_fixed(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.Linear(FEATURES, 1), (torch.randn(4, FEATURES),)), str(path))
    refused(given(path, tmp_path, X=numbers()), 3, f"{path}: ", "for batches of 4 only", "dynamic_shapes")


def test_a_whole_pickled_module_and_a_state_dict_by_the_wrong_name(tmp_path: Path) -> None:
    module, path = nn.Linear(FEATURES, 1), tmp_path / "net.pt2"
    torch.save(module.state_dict(), path)
    refused(given(path, tmp_path, X=numbers()), 3, f"{path}: ", "a state dict", "--module package.module:factory")
    torch.save(module, path)
    said = given(path, tmp_path, X=numbers())
    refused(said, 3, f"{path}: ", "a pickle of torch.nn.modules.linear.Linear", "reading it runs code")
    assert "weights_only" not in said.err, "torch's advice is to read it all the same"
    assert "\x1b" not in said.err


def test_weights_that_are_nan(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(FEATURES, 3), nn.Linear(3, 1))
    with torch.no_grad():
        module[1].weight[0, 1] = torch.nan
    program = torch.export.export(
        module.eval(), (torch.randn(4, FEATURES),), dynamic_shapes=(({0: torch.export.Dim("batch")}),)
    )
    torch.export.save(program, str(tmp_path / "net.pt2"))
    refused(given(tmp_path / "net.pt2", tmp_path, X=numbers()), 3, "1 of 3 weights of '1.weight' are NaN", "diverged")


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_another_width(folder: Path, tmp_path: Path) -> None:
    said = given(folder / "numbers.pt2", tmp_path, X=numbers(FEATURES - 1))
    refused(said, 2, "rows.npz", f"each row has {FEATURES - 1} values; the model takes {FEATURES}")


def test_codes_that_are_not_there_or_no_codes(folder: Path, tmp_path: Path) -> None:
    rows, missing = {"X": numbers()}, codes().astype(float)
    missing[3, 1] = np.nan
    for arrays, said in (
        ({}, "there is none"),
        ({"C": codes()[:, :3]}, f"it is int64 [{ROWS}, 3]"),
        ({"C": missing}, f"it is float64 [{ROWS}, 4]"),
    ):
        refused(given(folder / "codes.pt2", tmp_path, **rows, **arrays), 2, "an array C of integers", said)


def test_codes_that_no_column_knows_are_told_and_left_out_of_the_metric(folder: Path, tmp_path: Path) -> None:
    unknown = codes()
    unknown[:30, 1] = 99
    said = given(folder / "codes.pt2", tmp_path, X=numbers(), C=unknown)
    assert said.code == 0, said.err
    assert "30 of 120 rows hold a code that the net doesn't know" in said.err
    assert "99 in c1, which takes 0 to 10" in said.err
    metric = said.document()["candidates"][0]["parity"]["metric"]
    assert 60 < metric["rows"] < 90
    assert np.isfinite(metric["framework"])


def test_rows_of_which_none_is_answered_have_no_metric(folder: Path, tmp_path: Path) -> None:
    said = given(folder / "codes.pt2", tmp_path, X=numbers(), C=codes() + 100)
    assert said.code == 0, said.err
    assert "120 of 120 rows hold a code" in said.err
    assert said.document()["candidates"][0]["parity"]["metric"] is None
