"""Ask a Triton over gRPC, with errors that a user can read.

Shapes: N rows, F features, K outputs. Served tensors are ``input__0`` FP32 [F], ``input__1`` BYTES or INT64 [C] where
the model takes categories, and ``output__0`` FP32 [K].
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .. import triton_releases
from ..errors import PublicationError
from . import channel
from .address import HEADERS_VARIABLE
from .credentials import NONE, Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from numpy.typing import NDArray

    from ..triton_releases import Release

INPUT, CATEGORIES, OUTPUT = "input__0", "input__1", "output__0"

CONNECT_S = 10.0
LOAD_S = 600.0
"""A large model, warm-up requests and an engine's build all count as loading."""
INFER_S = 120.0

INDEX_S = 0.5
"""Between two looks at what a server has loaded by itself."""

NOBODY = "millwork-asks-how-models-are-controlled"
UNLOADED = "unloaded"
"""The reason of a version that was there and was right."""
NOT_EXPLICIT = "explicit model load / unload is not allowed"
"""What a server says that isn't in explicit mode, whatever it was to unload."""

LAST_WORD_S = 5.0
"""For a server to take back what it was given, once its time is over."""

LATE_S = 0.5
"""A call that ends so long before all of the time is over was given that rest."""

SAID = 200
"""Characters of a server's or a library's own words that are shown."""

RESTRICTED = "protocol is restricted"
"""What a Triton of --grpc-restricted-protocol says to who hasn't its header."""

_HANDSHAKES = (
    ("WRONG_VERSION_NUMBER", ": it doesn't speak TLS"),
    ("CERTIFICATE_VERIFY_FAILED", ": nobody that is known vouches for its certificate"),
    ("ostname", ": its certificate is for another name"),
    ("eer name", ": its certificate is for another name"),
)
"""What the gRPC library's words on a handshake that failed mean, the first that is among them."""

_WRAPPING = re.compile(
    r"^(\[StatusCode\.\w+\] |failed to load '[^']*', |load failed for model '[^']*': "
    r"|version \d+ is at \w+ state: |Internal: |Invalid argument: )+"
)


class SilentError(PublicationError):
    """The server didn't answer in the time that it had."""


class Session:
    """A connection to one Triton. Raises PublicationError where none answers at ``url`` (``grpc://HOST:PORT``,
    ``grpcs://HOST:PORT``, ``unix:///SOCKET``). ``patience_s``: how long it is waited for where it has only to answer
    a question."""

    def __init__(self, url: str, given: Credentials = NONE, patience_s: float = CONNECT_S) -> None:
        self.url = url if "://" in url else f"grpc://{url}"
        self.credentials = given
        self._client = channel.client(self.url, given)
        self._patience_s = min(patience_s, CONNECT_S)
        self._until: float | None = None
        self._seconds = self._given = 0.0

    def __enter__(self) -> Self:
        try:
            self.server_version()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """All that is asked meanwhile is answered within so many ``seconds`` altogether, or :class:`SilentError` is
        raised: each call has what is left."""
        before = self._until, self._seconds
        self._until, self._seconds = time.monotonic() + seconds, seconds
        try:
            yield
        finally:
            self._until, self._seconds = before

    def _left(self, usual: float, *, whole: bool = False) -> float:
        """Seconds for a call: ``usual``; where all has a limit, what is left of that at most, or with ``whole`` all of
        that."""
        if self._until is None:
            return usual
        left = self._until - time.monotonic()
        if left <= 0:
            raise self._silent(f"Triton at {self.url} was too slow")
        self._given = left if whole else min(usual, left)
        return self._given

    def _silent(self, what: str) -> SilentError:
        over = self._until is None or time.monotonic() >= self._until - LATE_S
        seconds = self._seconds if over else self._given
        return SilentError(
            f"{what}: it didn't answer within {seconds:.0f} s", "Is it at work? --verify-timeout gives it more time."
        )

    def server_version(self) -> str:
        """The server's own version, such as ``2.51.0``."""
        from tritonclient.utils import InferenceServerException

        try:
            return str(self._client.get_server_metadata(client_timeout=self._left(self._patience_s)).version)
        except InferenceServerException as error:
            raise _nobody(self.url, error) from error

    def release(self) -> Release | None:
        """The release that the server is, or None where the table doesn't know it."""
        return triton_releases.from_server_version(self.server_version())

    def load(self, name: str, config_override: str | None = None, files: Mapping[str, bytes] | None = None) -> None:
        """Load a model, or its new version; the old one serves until the new one is ready.

        ``config_override``: a model configuration in JSON, instead of the file's. ``files``: the model's own files
        (``file:1/model.onnx`` -> content), instead of the repository's; then a configuration must be given.
        Raises PublicationError with the server's reason where it refuses; what served before still does.
        """
        with self._told(f"Triton at {self.url} refused to load {name!r}"):
            self._client.load_model(
                name, config=config_override, files=files, client_timeout=self._left(LOAD_S, whole=True)
            )

    def unload(self, name: str) -> None:
        """Unload a model; the server does so once its requests in flight are answered."""
        with self._told(f"Triton at {self.url} refused to unload {name!r}"):
            try:
                seconds = max(self._left(LOAD_S, whole=True), LAST_WORD_S)
            except SilentError:
                seconds = LAST_WORD_S
            self._client.unload_model(name, client_timeout=seconds)

    def ready(self, name: str, version: int | None = None) -> bool:
        """Whether that version (None: any) answers requests."""
        with self._told(f"Triton at {self.url} failed to say whether {name!r} is ready"):
            return bool(self._client.is_model_ready(name, _text(version), client_timeout=self._left(self._patience_s)))

    def versions(self, name: str) -> tuple[int, ...]:
        """The versions that are ready, in ascending order."""
        with self._told(f"Triton at {self.url} failed to list its models"):
            index = self._client.get_model_repository_index(client_timeout=self._left(self._patience_s))
        return tuple(sorted(int(m.version) for m in index.models if m.name == name and m.state == "READY"))

    def models(self) -> tuple[str, ...]:
        """The names of all models in the server's repository, loaded or not."""
        with self._told(f"Triton at {self.url} failed to list its models"):
            index = self._client.get_model_repository_index(client_timeout=self._left(self._patience_s))
        return tuple(dict.fromkeys(model.name for model in index.models))

    def explicit(self) -> bool:
        """Whether the server loads and unloads what it is told to (``--model-control-mode=explicit``): one that polls
        its repository, or never looks again, refuses to unload even what isn't there."""
        from tritonclient.utils import InferenceServerException

        try:
            self._client.unload_model(NOBODY, client_timeout=self._left(self._patience_s))
        except InferenceServerException as error:
            return NOT_EXPLICIT not in str(error.message())
        return True

    def reasons(self, name: str) -> dict[int, str]:
        """Why versions of the model aren't loaded, by the server; also what it once said of a number that is given
        again."""
        with self._told(f"Triton at {self.url} failed to list its models"):
            index = self._client.get_model_repository_index(client_timeout=self._left(self._patience_s))
        return {int(m.version): m.reason for m in index.models if m.name == name and m.version and m.reason}

    def wait(self, name: str, version: int, seconds: float, before: Mapping[int, str] | None = None) -> None:
        """Wait until a server that polls its repository has loaded that version. PublicationError with its reason where
        it can't, or where it hasn't within ``seconds`` from the time that it last said that it is loading. ``before``:
        the :meth:`reasons` of the time before the version was there."""
        old = (UNLOADED, (before or {}).get(version))
        until = time.monotonic() + seconds
        while True:
            with self._told(f"Triton at {self.url} failed to list its models"):
                index = self._client.get_model_repository_index(client_timeout=self._left(self._patience_s))
            found = next((m for m in index.models if m.name == name and m.version == str(version)), None)
            if found is not None and found.state == "READY":
                return
            if found is not None and found.state == "UNAVAILABLE" and found.reason and found.reason not in old:
                raise PublicationError(f"Triton at {self.url} refused to load {name!r}: {reason(found.reason)}")
            last = until if self._until is None else min(until, self._until - INDEX_S)
            if time.monotonic() >= last:
                raise PublicationError(
                    f"Triton at {self.url} hasn't loaded version {version} of {name!r} within {seconds:g} s",
                    "It isn't in explicit mode. Does it poll this repository (--model-control-mode=poll)? For one that "
                    "reads its repository only when it starts: --triton none, and start it again.",
                )
            if found is not None and found.state == "LOADING":
                until = max(until, time.monotonic() + seconds)
            time.sleep(INDEX_S)

    def max_batch_size(self, name: str, version: int | None = None) -> int:
        """Rows that one request may hold; 0 where the model takes no batches."""
        with self._told(f"Triton at {self.url} failed to give the configuration of {name!r}"):
            answer = self._client.get_model_config(name, _text(version), client_timeout=self._left(self._patience_s))
        return int(answer.config.max_batch_size)

    def infer(
        self, name: str, x: NDArray[np.float32], version: int | None = None, categories: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Rows ``x`` [N, F] float32, and ``categories`` [N, C] (text or int64) -> answers [N, K] float32, in one
        request.

        Raises PublicationError where the server refuses, or answers with another type or number of rows.
        """
        import tritonclient.grpc

        sent = []
        if x.shape[1]:
            sent.append(tritonclient.grpc.InferInput(INPUT, list(x.shape), "FP32"))
            sent[-1].set_data_from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        if categories is not None:
            values, kind = _as_sent(categories)
            sent.append(tritonclient.grpc.InferInput(CATEGORIES, list(values.shape), kind))
            sent[-1].set_data_from_numpy(values)
        asked = [tritonclient.grpc.InferRequestedOutput(OUTPUT)]
        left = self._left(INFER_S, whole=True)
        with self._told(f"Triton at {self.url} failed on a request of {len(x)} rows to {name!r}"):
            answer = self._client.infer(name, sent, _text(version), outputs=asked, client_timeout=left)
        return _checked(name, len(x), answer.as_numpy(OUTPUT))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Say the server's reason in one line, or that the server is gone."""
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            if RESTRICTED in str(error.message()):  # other protocols of this server may be open
                raise _nobody(self.url, error) from error
            late = error.status() == "StatusCode.DEADLINE_EXCEEDED"
            if late and self._until is not None:
                raise self._silent(what) from error
            if late or error.status() == "StatusCode.UNAVAILABLE":
                self.server_version()  # raises where nobody answers any more
            raise PublicationError(f"{what}: {reason(str(error.message()))}") from error


def reason(message: str) -> str:
    """The first line of a server's refusal, without what it is wrapped in.

    ``load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: KeyError: 'x'`` -> ``KeyError: 'x'``.
    """
    lines = [line.strip().rstrip(";") for line in message.splitlines() if line.strip().strip(";")]
    first = lines[0] if lines else "the server gave no reason"
    return _WRAPPING.sub("", first) or first


def _as_sent(categories: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Categories as the client library takes them: int64, or objects that are bytes."""
    if categories.dtype.kind in "iu":
        return np.ascontiguousarray(categories, np.int64), "INT64"
    words = np.empty(categories.shape, object)
    words[...] = [[str(value).encode() for value in row] for row in categories.tolist()]
    return words, "BYTES"


def _checked(name: str, rows: int, answer: Any) -> NDArray[np.float32]:
    if answer is None or answer.dtype != np.float32:
        got = "nothing" if answer is None else str(answer.dtype)
        raise PublicationError(f"{name!r} must answer {OUTPUT} in float32; it answered {got}")
    if answer.ndim != 2 or answer.shape[0] != rows:
        raise PublicationError(f"{name!r} must answer {OUTPUT} of shape [{rows}, K]; it answered {list(answer.shape)}")
    return np.asarray(answer, dtype=np.float32)


def _nobody(url: str, error: Any) -> PublicationError:
    said = " ".join(str(error.message() or "").split())
    if error.status() == "StatusCode.UNIMPLEMENTED":
        return PublicationError(f"the server at {url} is not a Triton", "Give Triton's gRPC port (8001 by default).")
    if error.status() in ("StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED") or RESTRICTED in said:
        return PublicationError(
            f"{url} lets nobody in without the right credentials: {said[:SAID]}",
            f"Give them with --triton-header, or {HEADERS_VARIABLE} in the environment.",
        )
    if url.startswith("grpcs://"):  # one that wants a certificate of ours only closes the connection
        why = next((meaning for word, meaning in _HANDSHAKES if word in said), "")
        return PublicationError(
            f"no Triton answers at {url} by TLS{why}",
            "Check the port. --triton-ca says who vouches for its certificate; yours is given by --triton-cert and "
            "--triton-key. A server without TLS is grpc://.",
        )
    return PublicationError(
        f"no Triton answers at {url}",
        "Start it, or check the address: it is Triton's gRPC port (8001 by default), not its HTTP port. A server with "
        "TLS is grpcs://.",
    )


def _text(version: int | None) -> str:
    return "" if version is None else str(version)
