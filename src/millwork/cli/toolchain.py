"""``millwork toolchain install | list``: tools in environments of their own."""

from __future__ import annotations

import click
import msgspec
from rich.console import Console
from rich.text import Text

from .. import toolchains


@click.group()
def toolchain() -> None:
    """Tools that some candidates need, each in an environment of its own."""


@toolchain.command()
@click.argument("name")
def install(name: str) -> None:
    """Install NAME into the user's cache folder (nothing where it is there)."""
    console = Console(stderr=True)
    wanted = toolchains.named(name)
    doing = f"installing {wanted.name} (about {wanted.mb} MB)"
    with console.status(doing) as spinner:
        made = toolchains.install(wanted.name, lambda line: spinner.update(f"{doing}: {line}"))
    console.print(f"{wanted.name} is installed: {made.path}", soft_wrap=True, highlight=False)


@toolchain.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_them(as_json: bool) -> None:
    """Say which there are, what each is for, and which are installed."""
    standings = toolchains.standings()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(standings), indent=2).decode())
        return
    console = Console()
    for one in standings:
        where = one.path or f"not installed: millwork toolchain install {one.name} (about {one.mb} MB)"
        mark = ("✓", "green") if one.path else ("-", "yellow")
        console.print(Text.assemble(mark, f" {one.name}: {one.purpose}\n  {where}"), soft_wrap=True)
