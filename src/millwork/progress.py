"""What a long run tells whoever waits for it: a line a stage. The terminal's version is in cli/terminal.py."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called in order: ``begin``, any number of ``detail``, ``end``; ``note`` at any time."""

    def begin(self, stage: str, what: str) -> None:
        """A stage starts: ``check``, ``onnx-fp32``."""
        ...

    def detail(self, line: str) -> None:
        """A line of a long stage's own progress, replacing the one before."""
        ...

    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None:
        """The stage is done: what came out, whether it was kept from an earlier run, and whether that is good news."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know, and that isn't an error."""
        ...


class Silent:
    """Says nothing: the Python API's default."""

    def begin(self, stage: str, what: str) -> None: ...
    def detail(self, line: str) -> None: ...
    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None: ...
    def note(self, text: str) -> None: ...
