"""A gRPC channel to a Triton by its URL: in clear text, with TLS, or through a socket of this machine; with headers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..storage.files import refusal
from ..storage.opening import read_limited
from .credentials import LONGEST_PEM, Credentials, authorities

MESSAGE_BYTES = 2**31 - 1
"""The largest gRPC message: no limit of our own."""

OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A proxy for the web (http_proxy) is no way to a server on this machine or in this cluster.
    ("grpc.enable_http_proxy", 0),
)


def target(url: str) -> str:
    """The server as gRPC names it: ``HOST:PORT``, or ``unix:///SOCKET``."""
    return url if url.startswith("unix:") else url.partition("://")[2]


def client(url: str, given: Credentials) -> Any:
    """tritonclient's gRPC client of the server, which sends the headers with each request."""
    import tritonclient.grpc

    found = tritonclient.grpc.InferenceServerClient(target(url), channel_args=list(OPTIONS), creds=_tls(url, given))
    if given.headers:
        found.register_plugin(_with_headers(given))
    return found


def asynchronous(url: str, given: Credentials) -> Any:
    """The same as a bare channel on asyncio; :func:`metadata` goes with each call."""
    import grpc.aio

    secure = _tls(url, given)
    if secure is None:
        return grpc.aio.insecure_channel(target(url), options=OPTIONS)
    return grpc.aio.secure_channel(target(url), secure, options=OPTIONS)


def metadata(given: Credentials) -> Sequence[tuple[str, str]]:
    """The headers as gRPC takes them."""
    return given.headers


def _tls(url: str, given: Credentials) -> Any:
    """gRPC's credentials for TLS; None without it."""
    if not url.startswith("grpcs://"):
        return None
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would print each handshake that fails, which we say ourselves
    import grpc

    return grpc.ssl_channel_credentials(
        root_certificates=authorities(given), private_key=_read(given.key), certificate_chain=_read(given.cert)
    )


def _read(path: str) -> bytes | None:
    try:
        return read_limited(Path(path), LONGEST_PEM) if path else None
    except OSError as error:
        raise UsageError(refusal(error, Path(path))) from error


def _with_headers(given: Credentials) -> Any:
    from tritonclient.grpc import InferenceServerClientPlugin

    class Headers(InferenceServerClientPlugin):  # type: ignore[misc]  # tritonclient has no types
        def __call__(self, request: Any) -> None:
            request.headers = {**(request.headers or {}), **dict(given.headers)}

    return Headers()
