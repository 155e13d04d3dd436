"""Tools that go into environments of their own, since their pins conflict with ours or they are large: a table."""

from __future__ import annotations

from collections.abc import Callable

from . import environments
from .environments import Environment
from .errors import UsageError, did_you_mean
from .values import Value


class Toolchain(Value):
    """``requirements``: what pip installs. ``mb``: how much that is to download, about."""

    name: str
    requirements: tuple[str, ...]
    purpose: str
    mb: int


TABLE: dict[str, Toolchain] = {
    toolchain.name: toolchain
    for toolchain in (
        Toolchain(
            name="tensorrt-rtx",
            requirements=("tensorrt-rtx-cu13==1.7.1.116",),
            purpose="says whether a graph builds for a GPU that isn't here",
            mb=95,
        ),
        Toolchain(
            name="hummingbird",
            requirements=("hummingbird-ml==0.4.12", "onnx==1.16.1", "torch==2.13.0"),
            purpose="converts trees to tensor operators, for the candidate of that name",
            mb=330,
        ),
    )
}


def named(name: str) -> Toolchain:
    """The toolchain called ``name``; UsageError where there is none."""
    if name not in TABLE:
        raise UsageError(
            f"unknown toolchain {name!r}{did_you_mean(name, TABLE)}", f"Known toolchains: {', '.join(TABLE)}."
        )
    return TABLE[name]


def find(name: str) -> Environment | None:
    """Its environment if it is there and whole; installs nothing."""
    return environments.find(name, named(name).requirements)


def install(name: str, announce: Callable[[str], None] = lambda _line: None) -> Environment:
    """Its environment, made where there is none. TargetError where it can't be."""
    return environments.ensure(name, named(name).requirements, announce)


class Standing(Value):
    """A toolchain and where it is; ``path`` is empty where it isn't."""

    name: str
    purpose: str
    mb: int
    path: str


def standings() -> list[Standing]:
    """All of the table."""
    found = ((toolchain, find(name)) for name, toolchain in TABLE.items())
    return [
        Standing(name=each.name, purpose=each.purpose, mb=each.mb, path=there.path if there else "")
        for each, there in found
    ]
