"""The Triton of a run: which release it is, what backends it has, and a session with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .. import triton_releases
from ..compile.kernel import TRITON_BACKEND
from ..errors import PublicationError, UsageError
from ..storage import scratch
from ..triton_releases import Release
from ..values import Value
from ..values.served import VERIFY_S, Known
from . import install, server
from .address import Address, Folder, Managed, NoServer, Remote
from .client import Session, SilentError
from .credentials import NONE, Credentials
from .install import Installation
from .readiness import backends_of

CONTAINER_BACKENDS = ("onnxruntime", "fil", "tensorrt", "python")
"""What NVIDIA's release container has of the backends that we serve with."""


class Serving(Value):
    """A Triton to serve with. ``backends``: which it has of those that we serve with, None where only loading a model
    will tell. ``explicit``: whether it loads what it is told to; else it polls its repository, or reads it when it
    starts.

    ``installation`` is a server that we start and stop ourselves, ``url`` one that runs already; neither: none.
    ``own``: how it is known that the server which will serve has our backend; empty where it isn't known. The managed
    one has it, and stands for a stock one: it is measured with, and nothing is written for it. ``verify_s``: how long
    it may take to load and answer a version, and again to load the one before.
    """

    release: Release
    backends: tuple[str, ...] | None
    installation: Installation | None = None
    url: str = ""
    credentials: Credentials = NONE
    explicit: bool = True
    own: Known = ""
    verify_s: float = VERIFY_S

    @property
    def there(self) -> bool:
        return self.installation is not None or bool(self.url)

    @property
    def words(self) -> str:
        """``Triton 2.51.0 at grpc://…``; empty where there is no server."""
        if self.url:
            return f"Triton {self.release.version} at {self.url}"
        return f"Triton {self.release.version}" if self.installation else ""

    def served_by(self, native: str) -> tuple[str, ...]:
        """Triton backends to try for a file whose own backend is ``native``, the best first."""
        return tuple(name for name in dict.fromkeys((native, "python")) if self.takes(name))

    def takes(self, backend: str) -> bool:
        """Whether a version may be written for this Triton backend: for ours, only where the server is known to have
        it."""
        there = self.backends is None or backend in self.backends
        return there and (backend != TRITON_BACKEND or bool(self.own))

    def only_measured(self, native: str) -> tuple[str, ...]:
        """Triton backends that a server of ours can measure a file of ``native`` by, though none is written for
        them."""
        measured = self.installation is not None and native in (self.backends or ())
        return (native,) if measured and not self.takes(native) else ()


def prepare(
    address: Address,
    release: str | None,
    announce: Callable[[str], None],
    *,
    start: bool = True,
    verify_s: float | None = None,
) -> Serving:
    """The Triton at ``address``, installed if it is ours and isn't there. ``release``: what the user said it is.
    ``start``: whether the managed one will be needed, or only what it is. ``verify_s``: how long it is waited for;
    None: as the address says.

    Raises UsageError where the server is another release than was said, TargetError or PublicationError where
    there is none.
    """
    match address:
        case NoServer():
            found = triton_releases.find(release) if release else triton_releases.newest()
            return Serving(release=found, backends=CONTAINER_BACKENDS)
        case Managed():
            installation = install.install(announce) if start else None
            serving = Serving(
                release=_of(install.TRITON_VERSION, release), backends=install.backends(), installation=installation
            )
        case Folder(path=path):
            own = install.at(Path(path))
            ours = (*CONTAINER_BACKENDS, TRITON_BACKEND)
            backends = tuple(name for name in ours if (Path(own.backends) / name).is_dir())
            serving = Serving(release=triton_releases.newest(), backends=backends, installation=own)
            with session(serving) as asked:
                version = asked.server_version()
            known: Known = "asked" if TRITON_BACKEND in backends else ""
            serving = Serving(release=_of(version, release), backends=backends, installation=own, own=known)
        case Remote():
            with Session(address.url, address.credentials, address.verify_s) as asked:
                version, explicit = asked.server_version(), asked.explicit()
            serving = Serving(
                release=_of(version, release),
                backends=None,
                url=address.url,
                credentials=address.credentials,
                explicit=explicit,
            )
    if release is not None and serving.release != triton_releases.find(release):
        raise UsageError(
            f"--triton-release {release}: the server's release is {serving.release.name}", "Leave --triton-release out."
        )
    return msgspec.structs.replace(serving, verify_s=address.verify_s if verify_s is None else verify_s)


def asked(serving: Serving, natives: Iterable[str]) -> Serving:
    """The same, with which backends a server that runs already has of those that files of ``natives`` can be served by.
    Unchanged where it takes no models by its API: then nobody can tell before it reads one."""
    if not serving.url or serving.backends is not None or not serving.explicit:
        return serving
    try:
        with Session(serving.url, serving.credentials, serving.verify_s) as asking, asking.within(serving.verify_s):
            has = backends_of(asking, tuple(dict.fromkeys((*natives, "python"))))
    except SilentError:
        raise
    except PublicationError:
        return serving
    return msgspec.structs.replace(serving, backends=has, own="asked" if TRITON_BACKEND in has else "")


@contextmanager
def session(serving: Serving, repository: str | None = None) -> Iterator[Session]:
    """Talk to the server: the one that runs, or one of ours, started on ``repository`` for the while."""
    with opened(serving, repository) as (asked, _):
        yield asked


@contextmanager
def opened(serving: Serving, repository: str | None = None) -> Iterator[tuple[Session, int]]:
    """The same, with the server's process where it is one of ours, else 0."""
    if serving.url:
        with Session(serving.url, serving.credentials, serving.verify_s) as asked:
            yield asked, 0
        return
    if serving.installation is None:
        raise PublicationError("--triton none: this needs a Triton server", "Leave --triton none out.")
    with scratch.folder("triton") as folder:
        empty = folder / "models"
        empty.mkdir()
        log = folder / "triton.log"
        with (
            server.start(serving.installation, repository or str(empty), log=log) as running,
            Session(running.grpc_url) as asked,
        ):
            yield asked, running.pid


def _of(version: str, said: str | None) -> Release:
    """The release of a server's version; what the user said where the table doesn't know it."""
    found = triton_releases.from_server_version(version)
    if found is not None:
        return found
    if said is not None:
        return triton_releases.find(said)
    raise UsageError(
        f"the server runs Triton {version}, which this version of millwork doesn't know",
        "Say which release to write for with --triton-release YY.MM.",
    )
