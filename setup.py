"""Refuses to build from a checkout whose links are text files; all else is in pyproject.toml.

src/millwork has four links to top-level folders. Where git can't make links (Windows, core.symlinks false) it writes
their targets into plain files, and setuptools would build a package without its four sub-packages, and not say so.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

LINKED = ("compile", "passes", "validators", "artifacts")

for name in LINKED:
    if not Path(__file__).with_name("src").joinpath("millwork", name, "__init__.py").is_file():
        raise SystemExit(
            f"src/millwork/{name}: expected a link to ../../{name}, and it isn't one.\n"
            "Check out again where links can be made: git -c core.symlinks=true clone …"
        )

setup()
