"""``s3://BUCKET/PREFIX``, ``gs://…``, ``az://CONTAINER/…``: taken apart, and where its credentials come from.

s3://bucket/prefix/<name>/config.pbtxt       which version serves: the commit point
s3://bucket/prefix/<name>/<N>/…              the version's files, manifest.json, config.pbtxt (its own)
s3://bucket/.prefix.millwork/<name>/<N>.json what became of version N: beside the repository, not in it
s3://bucket/.prefix.millwork/<name>/settled  up to which version nothing is left to be done
s3://bucket/.prefix.millwork/server.json     what is known of the server that reads it
"""

from __future__ import annotations

import os
import re
from typing import Literal
from urllib.parse import urlsplit

from ....errors import UsageError
from ....values import Value
from ...manifest import CONFIG_FILE

Scheme = Literal["s3", "gs", "az"]

SCHEMES: dict[str, Scheme] = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}

_ENDPOINTS: dict[Scheme, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_CREDENTIALS: dict[Scheme, str] = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL).",
    "gs": "Set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SERVICE_ACCOUNT_KEY.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_CLIENT_ID, _SECRET, _TENANT_ID).",
}


class Address(Value):
    """``bucket``: on Azure the container. ``prefix``: the repository's folder in it, never empty."""

    scheme: Scheme
    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.bucket_url}/{self.prefix}"

    @property
    def bucket_url(self) -> str:
        return f"{self.scheme}://{self.bucket}"

    @property
    def state(self) -> str:
        """Our own folder, beside the repository: Triton takes every folder in it for a model."""
        above, _, last = self.prefix.rpartition("/")
        return f"{above}/.{last}.millwork".lstrip("/")

    @property
    def endpoint(self) -> str:
        """Another server than the vendor's own, by the environment; else empty."""
        return next((os.environ[name] for name in _ENDPOINTS[self.scheme] if os.environ.get(name)), "")

    @property
    def plain_http(self) -> bool:
        """Whether the user named a server without TLS, as those on one's own machine are."""
        emulated = self.scheme == "az" and os.environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in ("1", "true")
        return emulated or self.endpoint.startswith("http://")

    @property
    def credentials(self) -> str:
        """How to give them, for a message."""
        return _CREDENTIALS[self.scheme]

    @property
    def for_triton(self) -> str:
        """As tritonserver's ``--model-repository`` takes it."""
        match self.scheme:
            case "s3":
                plain = self.endpoint.rstrip("/")
                return f"s3://{plain}/{self.bucket}/{self.prefix}" if plain else self.url
            case "gs":
                return self.url
            case _:
                account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
                return f"as://{account}.blob.core.windows.net/{self.bucket}/{self.prefix}"


def parse(url: str) -> Address:
    """The parts of ``url``; :class:`UsageError` where it can't be a repository's."""
    if not url.isprintable():  # urlsplit leaves some of these out
        raise UsageError(f"{url!r}: an address has no control characters in it")
    parts = urlsplit(url)
    scheme = SCHEMES[parts.scheme.lower()]
    prefix = parts.path.strip("/")
    if (
        not parts.netloc
        or parts.query
        or parts.fragment
        or parts.username
        or not re.fullmatch(r"[\w.-]+", parts.netloc)
    ):
        raise UsageError(
            f"{url}: expected {scheme}://BUCKET/PREFIX",
            "Give an endpoint by its environment variable, not in the address.",
        )
    _require_endpoint(scheme)
    if not prefix:
        raise UsageError(
            f"{url}: a bucket's root can't be a repository: millwork keeps its own files "
            "beside the repository, in the same bucket",
            f"Give a folder in it, such as {scheme}://{parts.netloc}/models.",
        )
    if wrong := [part for part in prefix.split("/") if not _PLAIN.fullmatch(part) or part in (".", "..")]:
        raise UsageError(
            f"{url}: {wrong[0]!r} in {prefix!r} can't be a folder's name: stores write some characters in another way, "
            "and what is published there is never found again",
            "Use letters, digits and . _ - = + @ ! ' ( ) , between slashes.",
        )
    return Address(scheme=scheme, bucket=parts.netloc, prefix=prefix)


_PLAIN = re.compile(r"[\w.=+@!'(),-]+(?: [\w.=+@!'(),-]+)*")
"""A folder's name that every store gives back as it was written (a space between words, too)."""


def _require_endpoint(scheme: Scheme) -> None:
    """UsageError where the environment names an endpoint that is no URL: the library that is given it would panic."""
    for name in _ENDPOINTS[scheme]:
        if name not in os.environ:
            continue
        given = os.environ[name]
        try:
            parts = urlsplit(given)
            well = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            well = False
        if not well or not _URL.fullmatch(given):
            raise UsageError(
                f"{name}={given!r}: this isn't the address of a server",
                f"Give it as https://HOST[:PORT] (or http://), or take {name} out of the environment.",
            )


_URL = re.compile(r"[!-~]+")


def is_object_store(url: str) -> bool:
    """Whether ``url`` names an object store of a kind that we know."""
    scheme, there, _ = url.partition("://")
    return bool(there) and scheme.lower() in SCHEMES


class Place(Value):
    """One model's keys in one repository."""

    address: Address
    name: str

    @property
    def model(self) -> str:
        return f"{self.address.prefix}/{self.name}"

    @property
    def config(self) -> str:
        return f"{self.model}/{CONFIG_FILE}"

    @property
    def records(self) -> str:
        return f"{self.address.state}/{self.name}"

    def version(self, number: int) -> str:
        return f"{self.model}/{number}"

    def record(self, number: int) -> str:
        return f"{self.records}/{number}.json"

    @property
    def settled(self) -> str:
        """Up to which version nothing is left to be done."""
        return f"{self.records}/settled"

    def kept(self, number: int) -> str:
        """The configuration by which the version served last, where that isn't its own."""
        return f"{self.records}/{number}.pbtxt"

    def other(self, digest: str) -> str:
        """A configuration that served no version."""
        return f"{self.records}/other-{digest}.pbtxt"


def number_in(path: str, folder: str) -> int | None:
    """The version whose file ``path`` is, in the model's ``folder``; None for other files."""
    inner = path.removeprefix(f"{folder}/")
    first, below, _ = inner.partition("/")
    return int(first) if below and re.fullmatch(r"[1-9][0-9]*", first) else None
