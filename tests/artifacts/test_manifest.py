"""A manifest says what a version's files must be, and names the one that isn't."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from millwork.artifacts import manifest as manifests
from millwork.errors import InternalError, ModelError
from millwork.files import digest
from millwork.values import FileDigest, Manifest


@pytest.fixture
def folder(tmp_path: Path, manifest: Manifest) -> Path:
    """A version's folder of two files, one in a sub-folder, and its manifest."""
    (tmp_path / "sub").mkdir()
    files = [tmp_path / "model.onnx", tmp_path / "sub" / "weights.bin"]
    for path in files:
        path.write_bytes(path.name.encode())
    listed = tuple(digest(path, tmp_path) for path in files)
    manifests.write(tmp_path, msgspec.structs.replace(manifest, files=listed))
    return tmp_path


def test_reads_back_what_was_written(folder: Path, manifest: Manifest) -> None:
    read = manifests.read_intact(folder)
    assert msgspec.structs.replace(read, files=()) == manifest
    assert [entry.path for entry in read.files] == ["model.onnx", "sub/weights.bin"]


def test_caches_beside_the_model_are_left_alone(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"compiled")
    assert manifests.verify_files(folder) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model.onnX", "model.onnx was changed"),
        (b"", "model.onnx has 0 bytes, the manifest says 10"),
        (None, "model.onnx is missing"),
    ],
)
def test_names_the_file_that_was_changed(folder: Path, content: bytes | None, said: str) -> None:
    if content is None:
        (folder / "model.onnx").unlink()
    else:
        (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        manifests.read_intact(folder)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "", "sub/../model.onnx", "./model.onnx", "link"])
def test_paths_stay_inside_the_folder(folder: Path, manifest: Manifest, path: str) -> None:
    (folder.parent / "secret").write_bytes(b"")
    (folder / "link").symlink_to(folder.parent / "secret")
    entry = FileDigest(path=path, sha256="0" * 64, bytes=0)
    problems = manifests.verify_files(folder, msgspec.structs.replace(manifest, files=(entry,)))
    assert problems == [f"{path!r} leaves the version's folder"]


def test_missing_truncated_or_newer(folder: Path, manifest: Manifest) -> None:
    path = folder / "manifest.json"
    for content, said in (
        (path.read_bytes()[:100], "not a manifest"),
        (b"\xff\xfe", "not a manifest"),
        (b"{}", "not a manifest: Object missing required field"),
        (msgspec.json.encode(msgspec.structs.replace(manifest, schema=2)), "schema 2; this millwork reads up to 1"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=said):
            manifests.read(folder)
    path.unlink()
    with pytest.raises(ModelError, match="no such file"):
        manifests.read(folder)


def test_numbers_that_json_cannot_hold_are_refused_when_written(tmp_path: Path, manifest: Manifest) -> None:
    broken = msgspec.structs.replace(manifest, golden_abs=float("inf"))
    with pytest.raises(InternalError, match="golden_abs"):
        manifests.write(tmp_path, broken)
    assert not (tmp_path / "manifest.json").exists()
