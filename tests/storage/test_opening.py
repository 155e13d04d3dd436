"""Files are opened by their names in one way: nothing is waited for, and no other file is written."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from millwork.storage import opening
from millwork.storage.files import refusal

SPARSE = 200 << 30


def folder(path: Path) -> None:
    path.mkdir()


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def standard_input(path: Path) -> None:
    path.symlink_to("/dev/stdin")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


ODD: tuple[tuple[Callable[[Path], None], str], ...] = (
    (folder, "this is a folder, not a file"),
    (os.mkfifo, "this is not a regular file, but a pipe"),
    (a_socket, "this is not a regular file, but a socket"),
    (device, "this is not a regular file, but a device"),
    (standard_input, "this is not a regular file, but an open file of one process"),
    (dangling, "which isn't there"),
)


@pytest.mark.parametrize(("make", "said"), ODD, ids=lambda made: getattr(made, "__name__", None))
def test_what_is_no_file_is_named_at_once(
    make: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    path = Path("odd")
    make(path)
    reads: tuple[Callable[[Path], object], ...] = (
        opening.opened,
        opening.read_limited,
        opening.read_text,
        opening.sha256,
    )
    for read in reads:
        with pytest.raises(OSError, match=r".") as caught:
            read(path)
        assert refusal(caught.value).startswith("odd: ")
        assert said in refusal(caught.value)


@pytest.mark.parametrize("make", [make for make, _ in ODD], ids=lambda made: made.__name__)
def test_what_is_no_file_is_never_written(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(Path("odd"))
    writes: tuple[Callable[[Path], object], ...] = (
        opening.held,
        opening.found,
        opening.overwritten,
        lambda path: opening.write(path, b"ours"),
    )
    before = sorted(tmp_path.iterdir())
    for write in writes:
        with pytest.raises(OSError, match="odd"):
            write(Path("odd"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_no_other_file_is_written_through_a_link(link: Callable[[Path, Path], None], tmp_path: Path) -> None:
    precious, name = tmp_path / "precious.txt", tmp_path / "lock"
    precious.write_text("my only copy")
    link(name, precious)
    for write in (opening.held, opening.overwritten):
        with pytest.raises(OSError, match=r"millwork writes (through none|to none)") as caught:
            write(name)
        assert str(name) in refusal(caught.value)
    assert precious.read_text() == "my only copy"


def test_a_file_of_ours_is_made_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "note"
    opening.write(path, b"a long first one")
    opening.write(path, b"short")
    os.close(opening.held(path))
    assert path.read_bytes() == b"short"


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, SPARSE)
    for read in (opening.read_limited, opening.sha256, opening.opened):
        with pytest.raises(OSError, match="larger than the limit of 1,000 bytes"):
            read(path, 1000)
    ends = opening.read_ends(path, 1000)
    assert len(ends) < 1100


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    assert opening.read_text(tmp_path / "link") == "content"
