"""Which Triton to ask: ``--triton managed | none | grpc://HOST:PORT | … | PATH`` as a value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from ..errors import UsageError
from ..storage.files import exists
from ..values import Value
from ..values.served import VERIFY_S
from .credentials import NONE, Credentials, credentials, refuse_user, with_variable

EXPECTED = (
    "Give managed, none, grpc://HOST:PORT (grpcs:// with TLS, unix:///SOCKET), or the path of a tritonserver "
    "installation (/opt/tritonserver)."
)
SCHEMES = ("grpc", "grpcs")
HEADERS_VARIABLE = "MILLWORK_TRITON_HEADERS"
Scheme = Literal["grpc", "grpcs", "unix"]


LONGEST_VERIFY_S = 86400.0


class _Server(Value):
    """``verify_s``: seconds that it has to load a version and answer its golden rows."""

    verify_s: float = VERIFY_S


class Managed(_Server):
    """The server that ``millwork triton install`` installs."""


class NoServer(_Server):
    """None: what is published is not verified."""


class Remote(_Server, kw_only=True):
    """A server that runs already. ``host`` has no brackets, IPv6 or not; ``host`` is a path for ``unix``, whose
    ``port`` is 0."""

    host: str
    port: int
    scheme: Scheme = "grpc"
    credentials: Credentials = NONE

    @property
    def url(self) -> str:
        """``grpc://HOST:PORT``, ``grpcs://HOST:PORT``, ``unix:///SOCKET``."""
        if self.scheme == "unix":
            return f"unix://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Folder(_Server, kw_only=True):
    """A tritonserver installation of the user's: its folder or its program."""

    path: str


Address = Managed | NoServer | Remote | Folder


class Said(Protocol):
    """The options of a command that talks to a Triton."""

    @property
    def triton(self) -> str: ...
    @property
    def triton_ca(self) -> str | None: ...
    @property
    def triton_cert(self) -> str | None: ...
    @property
    def triton_key(self) -> str | None: ...
    @property
    def triton_header(self) -> tuple[str, ...]: ...
    @property
    def verify_timeout(self) -> float: ...


def asked(options: Said) -> Address:
    """The address that a command's options mean, and its credentials. UsageError for what can't be right."""
    given = credentials(
        "triton", options.triton_ca, options.triton_cert, options.triton_key, tuple(options.triton_header)
    )
    if not 0 < options.verify_timeout <= LONGEST_VERIFY_S:
        raise UsageError(f"--verify-timeout {options.verify_timeout:g}: expected above 0, at most a day of seconds")
    return msgspec.structs.replace(parse(options.triton, given), verify_s=options.verify_timeout)


def parse(text: str, given: Credentials = NONE) -> Address:
    """The address that ``--triton TEXT`` means. UsageError on anything else, where PATH isn't there, and for
    credentials that go with no such address."""
    if "://" in text:
        return _remote(text, given)
    for name in ("ca", "cert", "headers"):
        if getattr(given, name):
            raise UsageError(
                f"--triton-{name.removesuffix('s')} with --triton {text}: this is for a server that runs already",
                "Give its address: --triton grpcs://HOST:PORT.",
            )
    if text == "managed":
        return Managed()
    if text == "none":
        return NoServer()
    if "\0" in text:
        raise UsageError(f"--triton {text!r}: this isn't the address of a Triton", EXPECTED)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (pathlib's raises for a user who isn't there)
    if text and (os.sep in text or exists(path)):
        if exists(path):
            return Folder(path=str(path.resolve()))
        raise UsageError(f"--triton {text}: there is no such file or folder", EXPECTED)
    raise UsageError(f"--triton {text!r}: this isn't the address of a Triton", EXPECTED)


def _remote(text: str, given: Credentials) -> Remote:
    refuse_user("--triton", text, "triton", HEADERS_VARIABLE)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port that isn't a number, or brackets that don't close
        raise UsageError(f"--triton {text}: {error}", EXPECTED) from error
    if (given.ca or given.cert) and parts.scheme != "grpcs":
        raise UsageError(
            f"--triton-{'ca' if given.ca else 'cert'} with --triton {text}: certificates are for TLS",
            "Give the address as grpcs://HOST:PORT.",
        )
    given = with_variable(given, HEADERS_VARIABLE)
    if parts.scheme == "unix":
        return _socket(text, given)
    if parts.scheme not in SCHEMES:
        raise UsageError(
            f"--triton {text}: {parts.scheme}:// is not supported",
            "millwork talks to Triton by gRPC: grpc://HOST:PORT (its default port is 8001), grpcs:// with TLS, or "
            "unix:///SOCKET.",
        )
    if not host or not port:
        raise UsageError(
            f"--triton {text}: expected a host and a port", f"For example {parts.scheme}://127.0.0.1:8001."
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"--triton {text}: expected only a host and a port", EXPECTED)
    return Remote(host=host, port=port, scheme="grpcs" if parts.scheme == "grpcs" else "grpc", credentials=given)


def _socket(text: str, given: Credentials) -> Remote:
    """``unix:///SOCKET``: a socket's file, absolute."""
    path = text.removeprefix("unix://")
    if not path.startswith("/") or "\0" in path:
        raise UsageError(
            f"--triton {text}: expected an absolute path", "For example unix:///run/triton/grpc.sock:8001."
        )
    if not exists(Path(path)):
        raise UsageError(
            f"--triton {text}: there is no such socket",
            "Triton's --grpc-address=unix:/PATH listens on /PATH:PORT, by default /PATH:8001.",
        )
    return Remote(host=path, port=0, scheme="unix", credentials=given)
