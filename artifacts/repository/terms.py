"""On what terms something is published: which version was read, and what may be replaced by what.

Asked while nobody else can publish: in a folder under the lock, in an object store before each put on a condition.
"""

from __future__ import annotations

from ...errors import PublicationError, UsageError
from ...triton import config as triton_config
from ...values import Manifest, Value
from ..bundle import Bundle
from . import contract, standard

NONE = 0
"""As an expected version: none serves."""


class Terms(Value):
    """``expected``: the version that was read before, and must serve still (``NONE``: none; None: any may); ``config``:
    the text by which it served. ``allow_unsigned``: a version without a signature may replace one that has one;
    ``allow_contract_change``: one may replace another that takes or gives something else."""

    expected: int | None = None
    config: str | None = None
    allow_unsigned: bool = False
    allow_contract_change: bool = False


ANY = Terms()


class Incumbent(Value):
    """What serves now, and would be replaced. ``version``: None where none serves. ``manifest``: None where millwork
    didn't publish it. ``config``: the text by which it serves. ``signed``: it is, or was when it was published."""

    version: int | None = None
    manifest: Manifest | None = None
    config: str = ""
    signed: bool = False


NOBODY = Incumbent()


class RefusedError(PublicationError):
    """What is asked for isn't done, for what serves now. Nothing was changed."""


class UnsignedError(UsageError):
    """A signature would be lost. Nothing was changed."""


def require_expected(name: str, serves: int | None, terms: Terms, config: str | None = None) -> None:
    """RefusedError where another version serves than the one that was read, or by another configuration."""
    if terms.expected is None:
        return
    if (serves or NONE) != terms.expected:
        now = "no version serves" if serves is None else f"version {serves} serves"
        read = "none served when it was read" if terms.expected == NONE else f"{terms.expected} was read"
        raise RefusedError(
            f"{name}: another version was published meanwhile: {now}, {read}; nothing was changed",
            "Look at what serves now (millwork inspect REPOSITORY/NAME), and run the command again if it still fits.",
        )
    if None in (terms.config, config) or triton_config.unstamped(config or "") == triton_config.unstamped(
        terms.config or ""
    ):
        return
    raise RefusedError(
        f"{name}: config.pbtxt, by which version {serves} serves, was changed meanwhile; nothing was changed by this",
        "Look at it, and run the command again.",
    )


def judge(incumbent: Incumbent, bundle: Bundle, terms: Terms, *, signs: bool) -> tuple[str, ...]:
    """What to say of a bundle that replaces what serves; UnsignedError where a signature would be lost, RefusedError
    where its clients would meet another contract."""
    require_signature(bundle.name, incumbent, terms, signs=signs)
    if astray := standard.leads_out(bundle.config):
        raise RefusedError(f"{bundle.name}: {'; '.join(astray)}", "Nothing was changed. Make the bundle again.")
    changes = contract.changes(incumbent.manifest, incumbent.config, bundle.manifest, bundle.config)
    return require_contract(bundle.name, incumbent, changes, terms)


def require_signature(name: str, incumbent: Incumbent, terms: Terms, *, signs: bool) -> None:
    """UnsignedError where a version that isn't signed would replace one that is."""
    if incumbent.signed and not signs and not terms.allow_unsigned:
        raise UnsignedError(
            f"{name}: version {incumbent.version}, which serves, is signed, and the new one wouldn't be",
            "Give the key with --sign, or say --allow-unsigned.",
        )


def noted_back(serves: Incumbent, target: Incumbent) -> tuple[str, ...]:
    """What to say of an earlier version that is to serve again in place of ``serves``: who asks has named it."""
    if target.version == serves.version or target.manifest is None or serves.version is None:
        return ()
    changes = contract.changes(serves.manifest, serves.config, target.manifest, target.config)
    listed = "".join(f"\n  {change}" for change in changes)
    told = [f"version {target.version} has another contract than version {serves.version}:{listed}"] if changes else []
    if serves.signed and not target.signed:
        told.append(f"version {target.version} isn't signed, and version {serves.version} is")
    return tuple(told)


def require_contract(name: str, incumbent: Incumbent, changes: list[str], terms: Terms) -> tuple[str, ...]:
    """The changes as notes; RefusedError where there are any and they weren't allowed."""
    if not changes:
        return ()
    listed = "".join(f"\n  {change}" for change in changes)
    if terms.allow_contract_change:
        return (f"{name} has another contract than version {incumbent.version}, which it replaces:{listed}",)
    raise RefusedError(
        f"{name}: clients of version {incumbent.version}, which serves, would meet another contract:{listed}\n"
        "Nothing was changed.",
        "Publish it under another --name, or say --allow-contract-change.",
    )
