"""Before anything is published: load the bundle on a real Triton under a temporary name, and ask it the golden rows.

The load API takes the files with the call, so no repository is touched, and no other model on the server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy.typing as npt

from ..errors import ModelError, PublicationError
from ..storage import archives, texts
from ..storage.opening import ANY_SIZE, read_limited
from ..triton.client import Session, SilentError
from ..triton.config import as_json
from ..triton.golden import GoldenVerdict, check_golden
from ..triton.readiness import forget
from ..validators.parity import Answers
from ..validators.rows.given import Given
from ..values import Manifest, Value
from .bundle import Bundle

LARGEST_GOLDEN = 1 << 30
"""Bytes of a version's golden rows: there are some ten to a hundred of them."""


class Rehearsed(Value):
    """``agreed`` with the framework on the golden rows, or the ``reason`` why not. ``loaded``: the server loaded it."""

    agreed: bool
    reason: str
    max_abs: float
    server: str
    loaded: bool = True


def rehearse(session: Session, bundle: Bundle, *, tidy: bool = False) -> Rehearsed:
    """Load, ask, unload. A server that refuses the bundle is a verdict with its reason; one that is silent is an
    error. ``tidy``: the server goes on
    serving others, so a name that failed to load is forgotten (:mod:`.readiness`)."""
    passing = f"{bundle.name}-rehearsal-{os.getpid()}"
    server = f"Triton {session.server_version()}"
    try:
        session.load(passing, as_json(bundle.config, name=passing), _files(bundle.folder))
    except SilentError:
        with contextlib.suppress(PublicationError):
            session.unload(passing)
        raise
    except PublicationError as error:
        if tidy:
            forget(session, passing)
        return Rehearsed(agreed=False, reason=error.message, max_abs=0.0, server=server, loaded=False)
    except BaseException:  # stopped meanwhile: it may be loaded, or will be
        with contextlib.suppress(PublicationError):
            session.unload(passing)
        raise
    try:
        verdict = ask_golden(session, passing, None, bundle.folder, bundle.manifest)
    finally:
        session.unload(passing)
    return Rehearsed(agreed=verdict.agreed, reason=verdict.reason, max_abs=min(verdict.max_abs, 1e300), server=server)


def ask_golden(session: Session, name: str, version: int | None, folder: Path, manifest: Manifest) -> GoldenVerdict:
    """Ask a served model the golden rows of the version in ``folder``."""
    given, answers = golden_rows(folder, manifest)
    return check_golden(
        session, name, version, given.numbers, answers, manifest.golden_abs, manifest.golden_rel, given.categories
    )


def golden_rows(folder: Path, manifest: Manifest) -> tuple[Given, Answers]:
    """The golden rows of the version in ``folder``, and the framework's answers float32 [G, K]. ModelError where the
    file isn't that: the repository may be anybody's."""
    path = folder / manifest.golden_file
    golden = archives.read(path, LARGEST_GOLDEN)
    rows, answers, categories = golden.get("x"), golden.get("y"), golden.get("c")
    with contextlib.suppress(ValueError):  # what isn't a table of texts is refused below
        categories = None if categories is None else texts.unpacked(categories)
    if not (
        _is_table(rows, "f4")
        and _is_table(answers, "f4")
        and len(rows) == len(answers)
        and (categories is None or (_is_table(categories, "O", "i8") and len(categories) == len(rows)))
    ):
        raise ModelError(f"{path}: expected golden rows (x) and the framework's answers to them (y)")
    return Given(rows, categories), answers


def _is_table(array: npt.NDArray[Any] | None, *kinds: str) -> TypeGuard[npt.NDArray[Any]]:
    return array is not None and array.ndim == 2 and (array.dtype.str[1:] in kinds or array.dtype.kind in kinds)


def _files(folder: Path) -> dict[str, bytes]:
    paths: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"file:1/{path.relative_to(folder).as_posix()}": read_limited(path, ANY_SIZE) for path in paths}
