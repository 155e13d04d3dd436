"""One bucket through obstore: whole objects, puts on a condition whose answer may be lost, and what an error means.

A request is tried again here and not inside obstore, so that Ctrl-C is heard between two tries, and so that a put on a
condition is never simply sent twice: its first try may have been done and its answer lost, and then the second is
refused because of the first. What lies there is read back instead, and tells.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from ....errors import PublicationError, TargetError
from ....storage import opening
from ....values import Value
from .address import Address

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import ObjectStore as Backend

R = TypeVar("R")

READERS = 16
"""Small objects are read this many at a time."""

PART_BYTES = 16 << 20
"""Larger files are sent and fetched in parts."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]+)</Code>(?:.*?<Message>([^<]*)</Message>)?", re.DOTALL)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired", "in a reasonable timeframe", "Request date header too old")
"""What S3, Google (of a token) and Azure say to a request whose time is far from theirs."""
SET_CLOCK = "Set this machine's clock (timedatectl set-ntp true), and give the same command again."
_PASSING = frozenset({408, 409, 425, 429})
"""Answers of 4xx after which the same request may succeed."""


PANIC = "PanicException"
"""What a library that is written in Rust raises where it found a fault of its own."""


class StoreError(PublicationError):
    """A request was refused, or not answered after several tries."""


class LostAnswerError(StoreError):
    """Whether a put on a condition was done could not be learned."""


class Patience(Value):
    """How long to try. Seconds; waits double from ``first_wait_s`` up to ``longest_wait_s``.

    ``answer_s``: the longest silence within one request.
    """

    tries: int = 8
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    answer_s: float = 20.0


class Tag(Value):
    """Which state of an object a put on a condition replaces: its ETag, and on Google its generation."""

    e_tag: str | None
    version: str | None


class Content(NamedTuple):
    """An object's bytes and state."""

    content: bytes
    tag: Tag


class Store:
    """The bucket of ``address``. Paths are keys from the bucket's root, with forward slashes.

    Methods raise :class:`StoreError`; making it raises :class:`TargetError` where obstore isn't installed.
    """

    def __init__(self, address: Address, patience: Patience | None = None) -> None:
        self._address = address
        self._patience = patience or Patience()
        self._backend = connect(address, self._patience)

    def read(self, path: str) -> Content | None:
        """The object, or None where there is none."""

        def get() -> Content | None:
            try:
                got = self._backend.get(path)
                content = bytes(got.bytes())
            except FileNotFoundError as error:
                self._require_bucket(error)
                return None
            return Content(content, Tag(e_tag=got.meta["e_tag"], version=got.meta["version"]))

        return self._tried(f"reading {path}", get)

    def read_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The objects that are there, by path; several at a time."""
        wanted = list(paths)
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(self.read, wanted))
        return {path: got.content for path, got in zip(wanted, found, strict=True) if got is not None}

    def create(self, path: str, content: bytes) -> bool:
        """Put a new object; False where there is one. ``content`` must be nobody else's, to be known again."""
        return self._conditional(path, content, None)

    def swap(self, path: str, content: bytes, was: Tag) -> bool:
        """Replace the object if it is as ``was`` says; False where it isn't. ``content`` must be nobody else's."""
        return self._conditional(path, content, was)

    def put(self, path: str, file: Path) -> None:
        """Put a file, whatever is there."""
        large = file.stat().st_size > PART_BYTES
        self._tried(
            f"writing {path}",
            lambda: self._backend.put(path, file, use_multipart=large, chunk_size=PART_BYTES, mode="overwrite"),
        )

    def digest(self, path: str) -> tuple[str, int]:
        """The sha256 and the size of what the store gives back; ``FileNotFoundError`` where there is nothing."""

        def get() -> tuple[str, int]:
            hashed, size = hashlib.sha256(), 0
            for part in self._parts(path):
                hashed.update(part)
                size += len(part)
            return hashed.hexdigest(), size

        return self._tried(f"reading {path}", get)

    def download(self, path: str, to: Path) -> None:
        """Write the object to a file; ``FileNotFoundError`` where there is nothing."""

        def get() -> None:
            with opening.overwritten(to) as file:
                for part in self._parts(path):
                    file.write(part)

        self._tried(f"reading {path}", get)

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that aren't there are fine."""
        for path in paths:  # one by one: not every store has the request for many
            self._tried(f"deleting {path}", lambda path=path: self._deleted(path))  # type: ignore[misc]

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every object below the folder ``prefix``, by path, with its size."""
        return self._tried(
            f"listing {prefix}",
            lambda: {entry["path"]: entry["size"] for entry in self._backend.list(prefix or None).collect()},
        )

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders right below ``prefix``."""

        def get() -> list[str]:
            found = self._backend.list_with_delimiter(prefix or None)["common_prefixes"]
            return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

        return self._tried(f"listing {prefix}", get)

    def _deleted(self, path: str) -> None:
        try:
            self._backend.delete(path)
        except FileNotFoundError as error:
            self._require_bucket(error)

    def _parts(self, path: str) -> Iterator[bytes]:
        """An object in parts; ConnectionError where it is cut short."""
        got, at = self._backend.get(path), 0
        for part in got.stream(min_chunk_size=PART_BYTES):
            at += len(part)
            yield bytes(part)
        if at != got.meta["size"]:
            raise ConnectionError(f"the store sent {at} of {got.meta['size']} bytes")

    def _conditional(self, path: str, content: bytes, was: Tag | None) -> bool:
        mode: PutMode = "create" if was is None else _update(was)
        lost: BaseException | None = None
        for wait in self._waits():
            try:
                self._backend.put(path, content, mode=mode, use_multipart=False)
                return True
            except BaseException as error:
                if not _of_the_library(error):
                    raise
                kind = type(error).__name__
                if kind not in ("AlreadyExistsError", "PreconditionError"):
                    if not _passing(error):
                        raise self._said(f"writing {path}", error, lost) from error
                    lost = error
            try:
                now = self.read(path)
            except StoreError as error:
                raise LostAnswerError(
                    f"{error.message}; it isn't known whether {path} was written", error.hint
                ) from error
            if now is not None and now.content == content:
                return True
            if (now.tag if now is not None else None) != was:
                return False
            time.sleep(wait)
        raise self._said(
            f"writing {path}",
            lost or ConnectionError("the store refused each attempt, though the object doesn't exist"),
            lost,
        )

    def _tried(self, doing: str, request: Callable[[], R]) -> R:
        last: BaseException | None = None
        for wait in self._waits():
            try:
                return request()
            except FileNotFoundError:
                raise
            except BaseException as error:
                if isinstance(error, PublicationError) or not _of_the_library(error):
                    raise
                if not _passing(error):
                    raise self._said(doing, error) from error
                last = error
            time.sleep(wait)
        raise self._said(doing, last or ConnectionError()) from last

    def _waits(self) -> Iterator[float]:
        """The seconds to wait after each try; nothing after the last."""
        wait = self._patience.first_wait_s
        for left in range(self._patience.tries, 0, -1):
            yield wait if left > 1 else 0.0
            wait = min(wait * 2, self._patience.longest_wait_s)

    def _require_bucket(self, error: BaseException) -> None:
        """StoreError where it isn't the object that is missing but all of it."""
        text = str(error)
        if any(code in text for code in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")):
            raise self._said("opening it", error) from error

    def _said(self, doing: str, error: BaseException, lost: BaseException | None = None) -> StoreError:
        reason, hint = explained(error, self._address)
        kind = StoreError if lost is None else LostAnswerError
        return kind(f"{self._address.bucket_url}: {doing}: {reason}", hint)


def connect(address: Address, patience: Patience) -> Backend:
    """obstore's object for the bucket, by the environment variables of its kind."""
    try:
        from obstore import store as stores
    except ImportError as error:
        raise TargetError(
            f"{address.url}: obstore isn't installed, and object stores need it",
            "pip install 'millwork[object-store]'",
        ) from error
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(patience.answer_s, 5.0)),
        "read_timeout": timedelta(seconds=patience.answer_s),
        "timeout": timedelta(minutes=30),
        "allow_http": address.plain_http,
    }
    retry: RetryConfig = {"max_retries": 0, "retry_timeout": timedelta(seconds=0)}
    try:
        match address.scheme:
            case "s3":
                return stores.S3Store(address.bucket, client_options=client, retry_config=retry)
            case "gs":
                return stores.GCSStore(address.bucket, client_options=client, retry_config=retry)
            case _:
                return stores.AzureStore(address.bucket, client_options=client, retry_config=retry)
    except BaseException as error:
        if not _of_the_library(error):
            raise
        reason, hint = explained(error, address)
        raise StoreError(f"{address.url}: {reason}", hint) from error


def explained(error: BaseException, address: Address) -> tuple[str, str]:
    """What the store said, in a line, and the next step."""
    text = str(error)
    code = _CODE.search(text)
    kind = type(error).__name__
    refused = _STATUS.search(text)
    if any(word in text for word in _SKEWED):
        said = f" ({code[1]})" if code else ""
        return f"this machine's clock is wrong: the store refuses the time of the request{said}", SET_CLOCK
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or (refused and refused[1] in ("401", "403")):
        said = f" ({code[1]})" if code else ""
        return f"the credentials aren't accepted or lack a permission{said}", address.credentials
    if "NoSuchBucket" in text or "ContainerNotFound" in text or "bucket does not exist" in text:
        return f"there is no bucket {address.bucket!r}", "Create it first: millwork doesn't create buckets."
    if "nstance metadata" in text or "169.254.169.254" in text or "metadata.google.internal" in text:
        return "no credentials were found", address.credentials
    status = _STATUS.search(text)
    if code is not None:
        return f"{status[1] if status else 'refused'} {code[1]}: {code[2] or ''}".rstrip(": "), ""
    if status is not None:
        return f"the store answered with status {status[1]}", ""
    if "error sending request" in text or "TimedOut" in text or "timed out" in text:
        cause = (
            "the store didn't answer in time"
            if "TimedOut" in text or "timed out" in text
            else "the store can't be reached"
        )
        return cause, f"Check {address.endpoint or 'the network'}."
    return text.splitlines()[0][:300] if text else kind, ""


def _of_the_library(error: BaseException) -> bool:
    """Whether it is what the store's library raised. A panic of it, which is no Exception, is; a signal isn't."""
    return isinstance(error, Exception) or type(error).__name__ == PANIC


def _passing(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    if type(error).__name__ in (
        PANIC,
        "PermissionDeniedError",
        "UnauthenticatedError",
        "InvalidPathError",
        "ValueError",
        "TypeError",
        "NotSupportedError",
        "UnknownConfigurationKeyError",
    ):
        return False
    text = str(error)
    if "builder error" in text or "169.254.169.254" in text or "metadata.google.internal" in text:
        return False
    status = _STATUS.search(text)
    return status is None or int(status[1]) >= 500 or int(status[1]) in _PASSING


def _update(was: Tag) -> UpdateVersion:
    mode: UpdateVersion = {}
    if was.e_tag is not None:
        mode["e_tag"] = was.e_tag
    if was.version is not None:
        mode["version"] = was.version
    return mode
