"""What a person sees while something is installed or loaded: a spinner, on a terminal only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from rich.text import Text

from ..artifacts.report import text
from ..errors import MillworkError
from .console import Console, plain


@contextlib.contextmanager
def progress(console: Console, doing: str) -> Iterator[Callable[[str], None]]:
    """The last step beside it."""
    with console.status(plain(doing)) as spinner:
        yield lambda line: spinner.update(plain(f"{doing}: {line}"))


class Loading:
    """A spinner for each model that is loaded; one that doesn't load is said at once."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def loading(self, name: str) -> AbstractContextManager[object]:
        return self._console.status(plain(f"loading {name}"))

    def failed(self, error: MillworkError) -> None:
        self._console.print(Text.assemble(("✗ ", "red"), text.visible(error.message)), soft_wrap=True)

    def follows(self, name: str, versions: tuple[int, ...]) -> None:
        now = f"version {', '.join(map(str, versions))}" if versions else "gone"
        self._console.print(Text.assemble(("✓ ", "green"), text.visible(f"{name}  {now}")), soft_wrap=True)
