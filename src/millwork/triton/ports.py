"""Loopback ports: those asked for, and free ones for the rest."""

from __future__ import annotations

import contextlib
import os
import socket

from ..errors import UsageError
from ..values import Value

LOOPBACK = "127.0.0.1"


class Ports(Value):
    """What a server listens on. ``chosen``: the names of the ports that the user gave."""

    grpc: int
    http: int
    metrics: int
    chosen: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[int, int, int]:
        return self.grpc, self.http, self.metrics


def choose(grpc: int | None, http: int | None, metrics: int | None) -> Ports:
    """The ports that were given, which must be free and distinct (else UsageError), and free ones for None.

    A free port can be taken by another process before the server has it, so who starts the server tries again.
    """
    wanted = {"grpc": grpc, "http": http, "metrics": metrics}
    given = {name: port for name, port in wanted.items() if port is not None}
    for name, port in given.items():
        if list(given.values()).count(port) > 1:
            raise UsageError(f"--{name}-port {port}: this port is given twice")
        require_free(name, port)
    with contextlib.ExitStack() as held:  # all held at once, so that they differ
        free = {name: _free(held, set(given.values())) for name in wanted if name not in given}
    return Ports(**{**given, **free}, chosen=tuple(given))


def require_free(name: str, port: int) -> None:
    """UsageError, naming the port, if a server can't listen on it."""
    hint = f"Choose another --{name}-port, or leave it out: millwork then chooses a free one."
    if not 0 < port < 65536:
        raise UsageError(f"--{name}-port {port}: expected 1 to 65535", hint)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        # As servers do: a port whose last connections are closing is free, one that is listened on isn't.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((LOOPBACK, port))
            tried.listen()
        except OSError as error:
            raise UsageError(f"--{name}-port {port}: {os.strerror(error.errno or 0)}", hint) from error


def _free(held: contextlib.ExitStack, taken: set[int]) -> int:
    """A port that nobody has, held until ``held`` closes."""
    while True:
        tried = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        tried.bind((LOOPBACK, 0))
        port = int(tried.getsockname()[1])
        if port not in taken:
            return port
