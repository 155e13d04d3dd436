"""``millwork verify``: is what is published still what it was? Which file isn't?"""

from __future__ import annotations

from ..commands.options import VerifyOptions
from .command import AsJson, command


@command(VerifyOptions)
def verify(options: VerifyOptions, as_json: AsJson = False) -> int:
    """Compare a published version, or a run's stages, with the hashes that were taken when they were made.

    It names every file that is missing, changed or added; the exit code is then 3.
    """
    from ..commands import verify as verify_command
    from .console import Console, answer_json, plain

    found = verify_command.verify(options)
    if as_json:
        answer_json(found, "the exit code is the answer")
    verify_command.require_unchanged(found)
    signed = ", signed by this key" if found.signed else ""
    Console().print(plain(f"{found.where}: {found.files} files, all as they were made{signed}"), soft_wrap=True)
    for note in filter(None, (found.uncovered, found.unfinished)):
        Console().print(plain(f"note: {note}"), soft_wrap=True)
    return 0
