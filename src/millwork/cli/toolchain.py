"""``millwork toolchain install | list``: tools in environments of their own."""

from __future__ import annotations

import click
import msgspec
from rich.text import Text

from .. import toolchains
from .console import Console, answer, plain


@click.group()
def toolchain() -> None:
    """Tools that some candidates need, each in an environment of its own."""


@toolchain.command()
@click.argument("name")
def install(name: str) -> None:
    """Install NAME into the user's cache folder (nothing where it is there)."""
    console = Console()
    wanted = toolchains.named(name)
    doing = f"installing {wanted.name} (about {wanted.mb} MB)"
    with console.status(plain(doing)) as spinner:
        made = toolchains.install(wanted.name, lambda line: spinner.update(plain(f"{doing}: {line}")))
    console.print(plain(f"{wanted.name} is installed: {made.path}"), soft_wrap=True)


@toolchain.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_them(as_json: bool) -> None:
    """Say which there are, what each is for, and which are installed."""
    standings = toolchains.standings()
    if as_json:
        answer(msgspec.json.format(msgspec.json.encode(standings), indent=2).decode())
        return
    console = Console(stdout=True)
    for one in standings:
        where = one.path or f"not installed: millwork toolchain install {one.name} (about {one.mb} MB)"
        mark = ("✓", "green") if one.path else ("-", "yellow")
        console.print(
            Text.assemble(mark, " ", plain(f"{one.name}: {one.purpose}"), "\n", plain(f"  {where}")), soft_wrap=True
        )
