"""Which Triton to ask: ``--triton managed | none | grpc://HOST:PORT | PATH`` as a value."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError
from ..storage.files import exists
from ..values import Value

EXPECTED = "Give managed, none, grpc://HOST:PORT, or the path of a tritonserver installation (/opt/tritonserver)."


class Managed(Value):
    """The server that ``millwork triton install`` installs."""


class NoServer(Value):
    """None: what is published is not verified."""


class Remote(Value):
    """A server that runs already. ``host`` has no brackets, IPv6 or not."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """``grpc://HOST:PORT``."""
        return f"grpc://[{self.host}]:{self.port}" if ":" in self.host else f"grpc://{self.host}:{self.port}"


class Folder(Value):
    """A tritonserver installation of the user's: its folder or its program."""

    path: str


Address = Managed | NoServer | Remote | Folder


def parse(text: str) -> Address:
    """The address that ``--triton TEXT`` means. UsageError on anything else, and where PATH isn't there."""
    if text == "managed":
        return Managed()
    if text == "none":
        return NoServer()
    if "://" in text:
        return _remote(text)
    if "\0" in text:
        raise UsageError(f"--triton {text!r}: this isn't the address of a Triton", EXPECTED)
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (pathlib's raises for a user who isn't there)
    if text and (os.sep in text or exists(path)):
        if exists(path):
            return Folder(path=str(path.resolve()))
        raise UsageError(f"--triton {text}: there is no such file or folder", EXPECTED)
    raise UsageError(f"--triton {text!r}: this isn't the address of a Triton", EXPECTED)


def _remote(text: str) -> Remote:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # a port that isn't a number, or brackets that don't close
        raise UsageError(f"--triton {text}: {error}", EXPECTED) from error
    if parts.scheme != "grpc":
        raise UsageError(
            f"--triton {text}: {parts.scheme}:// is not supported",
            "millwork talks to Triton by gRPC, without TLS: grpc://HOST:PORT (its default port is 8001).",
        )
    if not host or not port:
        raise UsageError(f"--triton {text}: expected a host and a port", "For example grpc://127.0.0.1:8001.")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--triton {text}: expected only a host and a port", EXPECTED)
    return Remote(host=host, port=port)
