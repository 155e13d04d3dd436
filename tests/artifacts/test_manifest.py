"""A manifest says what a version's files must be, and names the one that isn't."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from millwork.artifacts import manifest as manifests
from millwork.errors import InternalError, ModelError
from millwork.storage.files import digest
from millwork.values import FileDigest, Manifest


@pytest.fixture
def folder(tmp_path: Path, manifest: Manifest) -> Path:
    """A version's folder of three files, one in a sub-folder, and its manifest."""
    (tmp_path / "sub").mkdir()
    files = [tmp_path / "model.onnx", tmp_path / "golden.npz", tmp_path / "sub" / "weights.bin"]
    for path in files:
        path.write_bytes(path.name.encode())
    listed = tuple(digest(path, tmp_path) for path in files)
    manifests.write(tmp_path, msgspec.structs.replace(manifest, files=listed))
    return tmp_path


def test_reads_back_what_was_written(folder: Path, manifest: Manifest) -> None:
    read = manifests.read_intact(folder)
    assert msgspec.structs.replace(read, files=()) == manifest
    assert [entry.path for entry in read.files] == ["model.onnx", "golden.npz", "sub/weights.bin"]


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
    assert problems == [f"{path!r} is outside the version's folder"]


@pytest.mark.parametrize("field", ["model_file", "golden_file"])
@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "sub/../model.onnx", "link", "a" * 5000, "a\0b"])
def test_what_it_names_to_be_opened_stays_inside_too(folder: Path, manifest: Manifest, field: str, path: str) -> None:
    (folder.parent / "secret").write_bytes(b"")
    (folder / "link").symlink_to(folder.parent / "secret")
    manifests.write(folder, msgspec.structs.replace(manifest, **{field: path}))
    with pytest.raises(ModelError, match="is outside the version's folder"):
        manifests.read(folder)


def test_what_it_names_to_be_opened_is_listed(folder: Path, manifest: Manifest) -> None:
    (folder / "other.onnx").write_bytes(b"another model")
    files = manifests.read(folder).files
    manifests.write(folder, msgspec.structs.replace(manifest, files=files, model_file="other.onnx"))
    with pytest.raises(ModelError, match=r"the manifest names other\.onnx, but its list of files lacks it"):
        manifests.read_intact(folder)


def test_a_folder_of_the_version_that_is_a_link_out(folder: Path, manifest: Manifest) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_bytes(b"weights.bin")
    (folder / "sub" / "weights.bin").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(outside)
    with pytest.raises(ModelError, match=r"'sub/weights\.bin' is outside the version's folder"):
        manifests.read_intact(folder)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 100_000, b'{"schema": 1e999}', bytes(100)])
def test_a_manifest_that_is_made_to_hurt(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ModelError, match="not a manifest"):
        manifests.read(folder)


def test_a_manifest_that_is_too_large_or_no_file(folder: Path) -> None:
    path = folder / "manifest.json"
    with path.open("wb") as file:
        file.truncate(manifests.LONGEST + 1)
    with pytest.raises(ModelError, match="larger than the limit of 67,108,864 bytes"):
        manifests.read(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelError, match="not a regular file"):
        manifests.read(folder)


def test_missing_truncated_or_newer(folder: Path, manifest: Manifest) -> None:
    path = folder / "manifest.json"
    for content, said in (
        (path.read_bytes()[:100], "not a manifest"),
        (b"\xff\xfe", "not a manifest"),
        (b"{}", "not a manifest: Object missing required field"),
        (
            msgspec.json.encode(msgspec.structs.replace(manifest, schema=2)),
            "the manifest has schema 2; this millwork reads schemas up to 1",
        ),
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
