"""What file systems, file managers and editors leave in any folder: no reader of ours opens one."""

from __future__ import annotations

import re
from pathlib import Path

_STRAYS = re.compile(
    r"""\.DS_Store|\._.*|\.nfs[0-9a-f]+|\.fuse_hidden.*|lost\+found|Thumbs\.db|desktop\.ini|\.directory|\.Trash-.*|@eaDir
    |\.snapshots?|\.zfs|.*~|\.?\#.*|\..*\.sw[a-z]""",
    re.VERBOSE | re.IGNORECASE,
)


def is_stray(path: Path) -> bool:
    """Whether a file or folder is one that nobody put there on purpose, by its name."""
    return _STRAYS.fullmatch(path.name) is not None
