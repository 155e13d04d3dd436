"""What publishers know of the server that reads a repository: one small file in our folder beside it.

<parent>/.<repository>.millwork/server.json        in a folder
s3://bucket/.<prefix>.millwork/server.json         in an object store
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ...storage import wire
from ...storage.files import atomic_write, make_folder, read_limited
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


def read(state: Path) -> ServerNotes | None:
    """The notes in the state folder; None where there are none."""
    try:
        return decoded(read_limited(state / SERVER_FILE, LONGEST))
    except OSError:
        return None


def write(state: Path, notes: ServerNotes, like: Access) -> None:
    """Replace them, whole or not at all, for whoever ``like`` says. OSError where they can't be written."""
    make_folder(state, like)
    atomic_write(state / SERVER_FILE, encoded(notes), like)
