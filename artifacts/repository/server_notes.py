"""What publishers know of the server that reads a repository: one small file in our folder beside it.

<parent>/.<repository>.millwork/server.json        beside a folder
<repository>/.millwork.json                        in a folder that is a mount of its own
s3://bucket/.<prefix>.millwork/server.json         in an object store
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ...storage import opening, permissions, wire
from ...storage.files import atomic_write, make_folder
from ...storage.opening import read_limited
from ...storage.permissions import Access
from ...values import Value

SERVER_FILE = "server.json"
LONGEST = 1 << 16


class ServerNotes(Value):
    """``millwork_backend``: whether the last publication was for a server with our Triton backend."""

    millwork_backend: bool = False


def decoded(content: bytes) -> ServerNotes | None:
    """The notes in ``content``; None where it holds none: it is as if nothing had been noted."""
    try:
        return wire.decode(content, ServerNotes)
    except msgspec.DecodeError:
        return None


def encoded(notes: ServerNotes) -> bytes:
    return wire.encode(notes) + b"\n"


def read(path: Path) -> ServerNotes | None:
    """The notes in that file; None where there are none."""
    try:
        return decoded(read_limited(path, LONGEST))
    except OSError:
        return None


def write(path: Path, notes: ServerNotes, like: Access) -> None:
    """Replace them for whoever ``like`` says, whole or not at all. OSError where they can't be written."""
    make_folder(path.parent, like)
    atomic_write(path, encoded(notes), like)


def write_in_root(path: Path, notes: ServerNotes, like: Access) -> None:
    """The same in the repository's root, where no other name may come and go. A power cut can leave none."""
    permissions.touch(path, like)
    with opening.overwritten(path) as file:
        file.write(encoded(notes))
        file.flush()
        os.fsync(file.fileno())
