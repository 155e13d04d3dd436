"""``millwork toolchain install | list``: tools in environments of their own."""

from __future__ import annotations

from typing import Annotated

from ..pipeline.option import Arg
from .command import AsJson, add, command, group

toolchain = group("Tools that some candidates need, each in an environment of its own.")


@add(toolchain, "install")
@command()
def install(name: Annotated[str, Arg("NAME", "The toolchain; `millwork toolchain list` names all.")]) -> None:
    """Install NAME into the user's cache folder. Does nothing if it is installed."""
    from .. import toolchains
    from .console import Console, plain
    from .spinner import progress

    console = Console()
    wanted = toolchains.named(name)
    with progress(console, f"installing {wanted.name} (about {wanted.mb} MB)") as announce:
        made = toolchains.install(wanted.name, announce)
    console.print(plain(f"{wanted.name} is installed: {made.path}"), soft_wrap=True)


@add(toolchain, "list")
@command()
def list_them(as_json: AsJson = False) -> None:
    """List the toolchains, what each is for, and which are installed."""
    from rich.text import Text

    from .. import toolchains
    from .console import Console, answer_json, plain

    standings = toolchains.standings()
    if as_json:
        answer_json(standings)
        return
    console = Console(stdout=True)
    for one in standings:
        where = one.path or f"not installed: millwork toolchain install {one.name} (about {one.mb} MB)"
        mark = ("✓", "green") if one.path else ("-", "yellow")
        console.print(
            Text.assemble(mark, " ", plain(f"{one.name}: {one.purpose}"), "\n", plain(f"  {where}")), soft_wrap=True
        )
