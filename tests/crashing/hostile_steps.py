"""Steps in a hostile model's hands that reply well and leave what harms whoever reads or removes it, for
test_hostile_leavings.py."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NoReturn

import msgspec


class Text(msgspec.Struct):
    text: str


def holes(request: Text) -> Text:
    """A file of so many bytes that takes none on the disk."""
    with Path("hole").open("wb") as file:
        file.truncate(int(request.text))
    return request


def nests(request: Text) -> Text:
    """So many folders, one in another, in the working folder and in the temporary one."""
    own = os.getcwd()  # noqa: PTH109 (as chdir is)
    for start in (own, tempfile.gettempdir()):
        os.chdir(start)
        for _ in range(int(request.text)):
            os.mkdir("nn")  # noqa: PTH102 (a path would be longer than one may be)
            os.chdir("nn")
    os.chdir(own)
    return request


def many(request: Text) -> Text:
    for i in range(int(request.text)):
        Path(f"file-{i}").touch()
    return request


def no_text(request: Text) -> Text:
    Path(os.fsdecode(b"\xff\xfe")).touch()
    return request


def long_names(request: Text) -> Text:
    path = Path(*["x" * 240] * 5)
    path.mkdir(parents=True)
    return request


def floods(request: Text) -> NoReturn:
    """Its own log is long, and another file has a log's name."""
    for name in ("other.log", "floods.log"):
        with Path(name).open("ab") as file:
            file.truncate(4 << 30)
    raise ValueError("after the flood")


def without_its_log(request: Text) -> NoReturn:
    Path("without_its_log.log").unlink()
    raise ValueError("no log")


def in_the_way(request: Text) -> Text:
    """Folders where another step's log, and the run directory's own files, are to be."""
    for name in request.text.split():
        Path(name, "below").mkdir(parents=True)
    return request


def says(request: Text) -> Text:
    return request
