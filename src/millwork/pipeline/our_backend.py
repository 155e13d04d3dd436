"""Whether the server that will serve is known to have our Triton backend. Where it isn't, a stock one is written for.

Known is: the server, where it runs already and takes models by its API, loads one that names it; or a Triton folder has
it; or ``--millwork-backend`` was given; or the repository's last publication noted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from ..artifacts.repository import Repository
from ..artifacts.repository.server_notes import ServerNotes
from ..compile.backends import table
from ..compile.backends.forms import BackendForm
from ..compile.kernel import TRITON_BACKEND, TRITON_LIBRARY
from ..errors import MillworkError, PublicationError, UsageError
from ..progress import Progress
from ..triton import config as triton_config
from ..triton import serving as servers
from ..triton.readiness import NO_BACKEND
from ..triton.serving import Serving
from ..values.served import Known
from .run import CheckedCandidate, Run

MOST_MODELS = 100
"""So many configurations of a repository without notes are looked at."""
HOW_TO_ADD = f"Add {TRITON_LIBRARY} to it (`millwork triton backend` says where the file is), or leave the option out."


def settled(
    serving: Serving,
    natives: Iterable[str],
    *,
    given: bool,
    into: Repository | None,
    progress: Progress,
    of_run: Known = "",
) -> Serving:
    """``serving`` with what is known of its backends. ``natives``: those that there could be files for; ``given``:
    whether ``--millwork-backend`` was; ``into``: the repository; ``of_run``: how the run knew whose choice this is. A
    server that lacks one is said here, before anything is measured. UsageError where the option says what isn't so."""
    wanted = tuple(dict.fromkeys(natives))
    serving = servers.asked(serving, wanted)
    lacking = [name for name in wanted if serving.url and serving.backends is not None and name not in serving.backends]
    if lacking:
        progress.note(_lacks(serving, lacking))
    if serving.own or (TRITON_BACKEND not in wanted and not given):
        return serving
    sure = serving.backends is not None and TRITON_BACKEND not in serving.backends and _is_the_one(serving)
    if given and sure:
        raise UsageError(f"--millwork-backend: {serving.words} has no {TRITON_BACKEND} backend", HOW_TO_ADD)
    known: Known = "given" if given else "recorded" if into is not None and noted(into) else of_run
    if not known:
        return serving
    if sure:
        was = f"the last publication into {into.url} was" if known == "recorded" and into else "the run was"
        progress.note(
            f"{was} for a server with our Triton backend, and {serving.words} doesn't have it: what is "
            "published is for a server without"
        )
        return serving
    return _with_ours(serving, known)


def settled_for(run: Run, serving: Serving, forms: Iterable[BackendForm]) -> Serving:
    """:func:`settled` for a run that builds ``forms``."""
    natives = [table.row(form.backend).triton_backend for form in forms]
    return settled(serving, natives, given=run.plan.millwork_backend, into=run.plan.named, progress=run.progress)


def servable(checked: Sequence[CheckedCandidate], serving: Serving) -> list[CheckedCandidate]:
    """The candidates; those that passed and that the server has no backend for are out, before anything is measured."""
    return [
        _unservable(one, serving) if one.passed and not serving.served_by(one.built.artifact.triton_backend) else one
        for one in checked
    ]


def require_servable(checked: Sequence[CheckedCandidate]) -> None:
    """PublicationError where the server has no backend for any of the candidates that passed."""
    if any(one.passed for one in checked):
        return
    reasons = dict.fromkeys(one.record.reason for one in checked if NO_BACKEND in one.record.reason)
    raise PublicationError(
        f"no candidate can be served: {'; '.join(reasons)}",
        "Add one of these to the server. The python backend serves any candidate.",
    )


def _unservable(checked: CheckedCandidate, serving: Serving) -> CheckedCandidate:
    lacking = " and ".join(dict.fromkeys((checked.built.artifact.triton_backend, "python")))
    why = f"{serving.words} has neither of Triton's backends for it, {lacking} ({NO_BACKEND})"
    return replace(checked, record=msgspec.structs.replace(checked.record, status="unsupported", reason=why))


def unfit(backends: Sequence[str], serving: Serving) -> PublicationError:
    """Why a server takes none of the bundles that are for these Triton backends."""
    lacks = ", ".join(backends)
    there = serving.words or f"a stock Triton {serving.release.name}"
    if TRITON_BACKEND in backends and not serving.own and (serving.backends is None or not _is_the_one(serving)):
        return PublicationError(
            f"this is for a server with our Triton backend ({TRITON_LIBRARY}), and it isn't known that yours has it",
            "Give --millwork-backend if it has, or run optimize again for one that hasn't.",
        )
    return PublicationError(f"{there} has no {lacks} backend", f"It has: {', '.join(serving.backends or ())}.")


def noted(into: Repository) -> bool:
    """Whether the repository's last publication was for a server with our backend: by the note of it, and where there
    is none by what serves."""
    try:
        notes = into.server_notes()
        if notes is not None:
            return notes.millwork_backend
        return any(_names_ours(into, name) for name in into.models()[:MOST_MODELS])
    except (MillworkError, OSError):  # no repository yet, or one that can't be read: publishing says why
        return False


def note(into: Repository, serving: Serving, progress: Progress) -> None:
    """Keep what is known beside the repository, so that it is said once. What can't be noted isn't: it is published."""
    sure = serving.backends is not None and TRITON_BACKEND not in serving.backends and bool(serving.url)
    if not serving.own and not sure:
        return
    notes = ServerNotes(millwork_backend=bool(serving.own))
    try:
        known = into.server_notes()
        if known != notes and (known is not None or notes.millwork_backend):
            into.keep_server_notes(notes)
    except (MillworkError, OSError) as error:
        progress.note(f"that the server has our Triton backend couldn't be noted beside {into.url}: {error}")


def _with_ours(serving: Serving, known: Known) -> Serving:
    backends = serving.backends
    if backends is not None and TRITON_BACKEND not in backends:
        backends = (*backends, TRITON_BACKEND)
    return msgspec.structs.replace(serving, own=known, backends=backends)


def _is_the_one(serving: Serving) -> bool:
    """Whether it is the very server that will serve, and not the managed one, which stands for it."""
    return bool(serving.url) or (serving.installation is not None and serving.installation.environment is None)


def _names_ours(into: Repository, name: str) -> bool:
    try:
        return bool(triton_config.parse(into.config(name)).backend == TRITON_BACKEND)
    except MillworkError:  # somebody else's
        return False


def _lacks(serving: Serving, lacking: list[str]) -> str:
    names = ", ".join(lacking)
    if "python" in (serving.backends or ()):
        return f"{serving.words} lacks Triton's {names} backend: its python backend serves such a model"
    return f"{serving.words} lacks Triton's {names} backend, and its python backend, too"
