"""The gate finds what is wrong with the encoders of a built artifact: one entry of a table is planted, and it fails."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import treelite
from models import catboost_cases, xgboost_cases
from models.gate import Gate, gate
from onnx import numpy_helper

from millwork.compile.backends.base import Artifact

CASES = {
    "xgboost strings": xgboost_cases.CASES["categories, strings"],
    "xgboost codes": xgboost_cases.CASES["category codes, sets"],
    "catboost CTRs": catboost_cases.CASES["CTRs, combinations"],
    "catboost one-hot": catboost_cases.CASES["one-hot"],
}
Plant = Callable[[Path], None]


@functools.cache
def judge(name: str, scratch: Path) -> Gate:
    folder = scratch / name
    folder.mkdir()
    case = CASES[name](folder)
    return gate(case.model, folder / "gate", data=case.data, limit=3000)


@functools.cache
def built(name: str, backend: str, scratch: Path) -> tuple[Artifact, Path]:
    folder = scratch / name / backend
    made = judge(name, scratch).build(backend, folder).artifact
    assert made is not None
    return made, folder


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


# ── how to change one entry ───────────────────────────────────────────────────────────────────────────────


def constant(prefix: str, change: Callable[[Any], None]) -> Plant:
    """Of the first constant of an ONNX file whose name is ``prefix`` with a number for its N."""

    def plant(folder: Path) -> None:
        path = folder / "model.onnx"
        model = onnx.load_model(str(path))
        wanted = {prefix.replace("N", str(i)) for i in range(50)}
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name in wanted)
        values = numpy_helper.to_array(tensor).copy()
        change(values)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save_model(model, str(path))

    return plant


def words_in_onnx(folder: Path) -> None:
    """Two known values swap their places."""
    path = folder / "model.onnx"
    model = onnx.load_model(str(path))
    keys = next(
        a for node in model.graph.node for a in node.attribute if a.name == "keys_strings" and len(a.strings) > 1
    )
    keys.strings[0], keys.strings[1] = keys.strings[1], keys.strings[0]
    onnx.save_model(model, str(path))


def table(prefix: str, change: Callable[[Any], None]) -> Plant:
    """Of the first such table beside a checkpoint."""

    def plant(folder: Path) -> None:
        path = folder / "encoder.npz"
        with np.load(path) as held:
            tables = {name: held[name].copy() for name in held.files}
        wanted = {prefix.replace("N", str(i)) for i in range(50)}
        change(tables[next(name for name in tables if name in wanted)])
        np.savez(path, **tables)

    return plant


def words_beside_a_checkpoint(folder: Path) -> None:
    path = folder / "encoder.npz"
    with np.load(path) as held:
        tables = {name: held[name].copy() for name in held.files}
    words = json.loads(tables["vocabulary"].tobytes())
    own = next(own for own in words if len(own) > 1)
    own[0], own[1] = own[1], own[0]
    tables["vocabulary"] = np.frombuffer(json.dumps(words).encode(), np.uint8)
    np.savez(path, **tables)


def set_of_a_checkpoint(folder: Path) -> None:
    """One member of one node's set becomes a category that isn't in it."""
    path = folder / "checkpoint.tl"
    model = treelite.Model.deserialize(str(path))
    for tree in range(model.num_tree):
        accessor = model.get_tree_accessor(tree)
        members = accessor.get_field("category_list").copy()
        if len(members):
            members[0] += 1 if len(members) == 1 or members[1] != members[0] + 1 else 1000
            accessor.set_field("category_list", members)
            break
    model.serialize(str(path))


def one_float_up(values: Any) -> None:
    values[0, 0] = np.nextafter(values[0, 0], np.float32(np.inf))


def flipped(values: Any) -> None:
    """The first place's category moves to the other side."""
    values[0, 0] = 1 - values[0, 0]


def other_hash(values: Any) -> None:
    values[0] ^= 1


def swapped(values: Any) -> None:
    values[0], values[1] = values[1], values[0]


FAULTS: dict[tuple[str, str, str], Plant] = {
    ("xgboost strings", "onnx", "a category moved between sets"): constant("sets_N", flipped),
    ("xgboost strings", "onnx", "two words swapped"): words_in_onnx,
    ("xgboost strings", "fil", "a category moved between sets"): set_of_a_checkpoint,
    ("xgboost strings", "fil", "two words swapped"): words_beside_a_checkpoint,
    ("xgboost strings", "fil", "two codes swapped"): table("codeN", swapped),
    ("xgboost codes", "onnx", "a category moved between sets"): constant("sets_N", flipped),
    ("xgboost codes", "fil", "a category moved between sets"): set_of_a_checkpoint,
    ("catboost CTRs", "onnx", "a CTR off by one float"): constant("ctr_N_table", one_float_up),
    ("catboost CTRs", "onnx", "another hash"): constant("hashes_N", other_hash),
    ("catboost CTRs", "onnx", "two words swapped"): words_in_onnx,
    ("catboost CTRs", "fil", "a CTR off by one float"): table("ctrN_table", one_float_up),
    ("catboost CTRs", "fil", "another hash"): table("hashN", other_hash),
    ("catboost CTRs", "fil", "another key"): table("ctrN_keys", other_hash),
    ("catboost CTRs", "fil", "two words swapped"): words_beside_a_checkpoint,
    ("catboost one-hot", "onnx", "a category moved between sets"): constant("sets_N", flipped),
    ("catboost one-hot", "fil", "two codes swapped"): table("codeN", swapped),
    ("catboost one-hot", "fil", "a category moved between sets"): set_of_a_checkpoint,
}


@pytest.mark.parametrize(("name", "backend"), sorted({key[:2] for key in FAULTS}), ids=" in ".join)
def test_the_untouched_artifact_passes(name: str, backend: str, scratch: Path) -> None:
    verdict = judge(name, scratch).check(*built(name, backend, scratch))
    assert verdict.passed, verdict.reason
    assert verdict.parity.leaf_mismatches == 0
    assert verdict.parity.wrong_values == 0


@pytest.mark.parametrize("fault", FAULTS, ids=", ".join)
def test_a_planted_fault_fails_the_gate(fault: tuple[str, str, str], scratch: Path, tmp_path: Path) -> None:
    name, backend, _ = fault
    made, folder = built(name, backend, scratch)
    shutil.copytree(folder, tmp_path / "planted")
    FAULTS[fault](tmp_path / "planted")
    assert any((tmp_path / "planted" / path.name).read_bytes() != path.read_bytes() for path in folder.iterdir())
    verdict = judge(name, scratch).check(made, tmp_path / "planted")
    assert not verdict.passed
    assert verdict.reason
