"""Before a version serves: has a Triton that no client asks loaded it, and answered its golden rows?

On the managed Triton, or with ``--rehearse-on-server`` on the very server, under another name. What fails here was
never committed, so no client is ever answered by it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from .. import triton_releases
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import Rehearsed, rehearse
from ..errors import PublicationError, UsageError
from ..progress import Progress
from ..triton import config as triton_config
from ..triton import counters, install
from ..triton.readiness import NO_BACKEND
from ..triton.serving import Serving, session
from ..units import size
from ..values import Value

METRICS = "http://{host}:8002/metrics"
"""Where a Triton has its metrics unless it is told otherwise."""
OTHER = "--rehearse-on-server loads it on that server under another name first"


def require_sense(serving: Serving, *, on_server: bool) -> None:
    """UsageError where nothing can be rehearsed on the server: there is none, or it takes no models by its API."""
    if on_server and not serving.there:
        raise UsageError("--rehearse-on-server with --triton none: there is no server", "Leave one of the two out.")
    if on_server and serving.url and not serving.explicit:
        raise UsageError(
            f"--rehearse-on-server: {serving.url} takes no models by its API: it isn't in explicit mode",
            "Leave it out: the managed Triton rehearses what it can load.",
        )


class Asked(Value):
    """What is asked: with ``on_server`` on the very server. ``needs``: bytes of memory that a version takes, as far as
    that is known. ``serves``: the version that serves now, for a message."""

    on_server: bool = False
    needs: int = 0
    serves: int | None = None


def before(bundle: Bundle, serving: Serving, asked: Asked, progress: Progress) -> str:
    """Where ``bundle`` was rehearsed, in words; empty where it couldn't be, with a note why. PublicationError where it
    isn't loaded or answers wrong."""
    if not serving.there:
        return ""
    if asked.on_server and serving.url:
        _require_room(bundle, serving, asked.needs, progress)
        found = _rehearsed(bundle, serving, progress)
        if NO_BACKEND in found.reason:
            return ""  # publication tries the next one
        return _agreed(bundle, found, f"{found.server} at {serving.url}, under another name", asked.serves)
    managed = install.find() if serving.installation is None else serving.installation
    if lacks := _lacks(bundle, serving):
        hint = f" ({OTHER})" if serving.explicit else ""
        progress.note(f"not rehearsed before it serves: {lacks}{hint}")
        return ""
    found = _rehearsed(bundle, msgspec.structs.replace(serving, installation=managed, url=""), progress)
    own = managed is not None and managed.environment is not None
    where = f"the managed {found.server}" if own else found.server
    if not found.loaded and serving.installation is None and serving.release.name != _managed_release():
        progress.note(f"not rehearsed before it serves: {where} doesn't load it: {found.reason}")
        return ""
    return _agreed(bundle, found, where, asked.serves)


def _agreed(bundle: Bundle, found: Rehearsed, where: str, serves: int | None) -> str:
    if found.agreed:
        return where
    what = f"answers wrong: {found.reason}" if found.loaded else f"isn't loaded: {found.reason}"
    still = "no version of the model serves" if serves is None else f"version {serves} still serves"
    raise PublicationError(f"{bundle.name}: rehearsed on {where}, it {what}; nothing was committed; {still}")


def _managed_release() -> str:
    found = triton_releases.from_server_version(install.TRITON_VERSION)
    return found.name if found is not None else ""


def _lacks(bundle: Bundle, serving: Serving) -> str:
    """Why no managed Triton can stand for the server; empty where it is ours anyway, or one can."""
    backend = bundle.manifest.triton_backend
    if serving.installation is not None:
        return ""
    if backend not in install.backends():
        return f"the managed Triton has no {backend} backend"
    return "" if install.find() is not None else "the managed Triton isn't installed (millwork triton install)"


def _rehearsed(bundle: Bundle, serving: Serving, progress: Progress) -> Rehearsed:
    progress.detail(f"rehearsing on {serving.url or 'a Triton of its own'}")
    if serving.installation is not None and bundle.manifest.triton_backend == "python":
        install.provide(serving.installation, bundle.manifest.requirements, progress.detail)
    with session(serving) as talking:
        return rehearse(talking, bundle, tidy=bool(serving.url))


def _require_room(bundle: Bundle, serving: Serving, needs: int, progress: Progress) -> None:
    """PublicationError where the server's metrics show less memory than two versions at once take."""
    url = METRICS.format(host=urlsplit(serving.url).netloc.rpartition(":")[0])
    kind = triton_config.settings_of(bundle.config).kind
    try:
        total, used = counters.memory(counters.read(url), kind)
    except UsageError:
        progress.detail(f"{url} gives no metrics: its memory isn't known")
        return
    needs = max(needs, sum(entry.bytes for entry in bundle.manifest.files))
    if total and total - used < needs:
        raise PublicationError(
            f"{bundle.name}: there is no room on {serving.url} to rehearse it beside what serves: it needs about "
            f"{size(needs)}, and {size(int(total - used))} of {size(int(total))} are free",
            "Leave --rehearse-on-server out, or free some memory there.",
        )
