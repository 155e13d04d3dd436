"""A server that falls silent at a word of the protocol: a proxy before a real one, which then passes nothing on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

CHUNK = 65536


class Freezing:
    """``word``: silent for good once it was sent up; empty: never. ``frozen``: it is."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.word = b""
        self.frozen = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.listening.getsockname()[1]}"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.connections += [client, server]
                for source, sink, up in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if up and self.word and self.word in data:
                    self.frozen.set()
                if not self.frozen.is_set():
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def freezing(target: int) -> Iterator[Freezing]:
    """Before the server at port ``target``."""
    proxy = Freezing(target)
    threading.Thread(target=proxy.accept, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.listening.close()
        for connection in proxy.connections:
            connection.close()
