"""A server that wants TLS, a client's certificate and a header, met for real: no secret is told to anybody else."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from millwork.errors import PublicationError, UsageError
from millwork.storage import wire
from millwork.triton import counters, server
from millwork.triton.address import HEADERS_VARIABLE, Remote, parse
from millwork.triton.client import Session
from millwork.triton.credentials import Credentials, credentials
from millwork.triton.serving import Serving, prepare, session
from millwork.triton_releases import newest
from millwork.tuning.load.load_steps import LoadRequest, Where, load
from millwork.tuning.load.tensors import save
from millwork.validators import traffic
from millwork.validators.rows.given import Given
from millwork.worker.variables import for_server

if TYPE_CHECKING:
    from millwork.triton.install import Installation
    from millwork.triton.server import RunningServer

MODELS = Path(__file__).parent / "triton_models"
SECRET = "Zq7-not-to-be-seen"  # noqa: S105 -- it is for this server
HEADER = f"triton-grpc-protocol-pass: {SECRET}"
CONFIG = """name: "scale" backend: "python" max_batch_size: 64
input [{ name: "input__0" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "output__0" data_type: TYPE_FP32 dims: [3] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``ca``, and ``server`` and ``client`` that it signed; ``other``, which signed nothing."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        openssl("req", "-x509", *made, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1\n")
    for name in ("server", "client"):
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
        openssl("req", *made, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder


@pytest.fixture(scope="module")
def running(
    triton_installation: Installation, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("closed")
    (folder / "models" / "scale" / "1").mkdir(parents=True)
    shutil.copy(MODELS / "scale.py", folder / "models" / "scale" / "1" / "model.py")
    (folder / "models" / "scale" / "config.pbtxt").write_text(CONFIG)
    protocols = "health,metadata,inference,model-repository,model-config,statistics"
    options = [
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={keys / 'server.pem'}",
        f"--grpc-server-key={keys / 'server.key'}",
        f"--grpc-root-cert={keys / 'ca.pem'}",
        f"--grpc-restricted-protocol={protocols}:pass={SECRET}",
    ]
    with server.start(triton_installation, folder / "models", log=folder / "log", options=options) as one:
        yield one


def right(keys: Path) -> Credentials:
    return credentials("triton", str(keys / "ca.pem"), str(keys / "client.pem"), str(keys / "client.key"), (HEADER,))


def address(running: RunningServer, given: Credentials) -> Remote:
    found = parse(f"grpcs://localhost:{running.ports.grpc}", given)
    assert isinstance(found, Remote)
    return found


@pytest.mark.triton
def test_a_server_that_wants_all_of_it_is_asked_and_put_under_load(
    running: RunningServer, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = prepare(address(running, right(keys)), None, lambda _: None)
    assert serving.url == f"grpcs://localhost:{running.ports.grpc}"
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with session(serving) as asked:
        asked.load("scale")
        np.testing.assert_array_equal(asked.infer("scale", x), 2 * x)
        assert asked.versions("scale") == (1,)
    save(tmp_path / "rows.npz", Given(x, None))
    (tmp_path / "given.json").write_bytes(wire.encode(serving.credentials))
    monkeypatch.chdir(tmp_path)
    for spec in ("batch=2 clients=2", "batch=2 rate=200/s"):
        done = load(
            LoadRequest(
                where=Where(url=serving.url, credentials=str(tmp_path / "given.json"), perf_analyzer="/not/to/be/used"),
                model="scale",
                rows=str(tmp_path / "rows.npz"),
                traffic=traffic.parse(spec),
                seconds=0.3,
                seed=1,
            )
        )
        assert done.generator == "asyncio"
        assert done.server.requests > 0


@pytest.mark.triton
@pytest.mark.parametrize(
    ("lacking", "why", "hint"),
    [
        ("ca", "(?i)certificate", "--triton-ca"),
        ("cert", "no Triton answers at grpcs://localhost:[0-9]+ by TLS", "--triton-cert"),
        ("header", "without the right credentials", HEADERS_VARIABLE),
    ],
)
def test_what_is_lacking_is_said(running: RunningServer, keys: Path, lacking: str, why: str, hint: str) -> None:
    given = right(keys)
    given = Credentials(
        ca=str(keys / "other.pem") if lacking == "ca" else given.ca,
        cert="" if lacking == "cert" else given.cert,
        key="" if lacking == "cert" else given.key,
        headers=(("triton-grpc-protocol-pass", f"{SECRET}-wrong"),) if lacking == "header" else given.headers,
    )
    with pytest.raises(PublicationError, match=why) as caught:
        prepare(address(running, given), None, lambda _: None)
    assert hint in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.triton
@pytest.mark.parametrize("kind", ["unix", "ipv6"])
def test_sockets_and_ipv6(triton_installation: Installation, tmp_path: Path, kind: str) -> None:
    (tmp_path / "models").mkdir()
    with server.start(triton_installation, tmp_path / "models", log=tmp_path / "log") as plain:
        if kind == "unix":
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(tmp_path / "grpc.sock"))
            url = f"unix://{tmp_path / 'grpc.sock'}"
        else:
            listening = socket.socket(socket.AF_INET6)
            try:
                listening.bind(("::1", 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
            url = f"grpc://[::1]:{listening.getsockname()[1]}"
        with listening, _forwarded(listening, plain.ports.grpc):
            found = parse(url)
            assert isinstance(found, Remote)
            assert found.url == url
            with Session(found.url) as asked:
                assert asked.models() == ()


class _forwarded:  # noqa: N801 -- used as a function
    """What comes to ``listening`` goes to the port, and back."""

    def __init__(self, listening: socket.socket, port: int) -> None:
        listening.listen()
        threading.Thread(target=self._accept, args=(listening, port), daemon=True).start()

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def _accept(self, listening: socket.socket, port: int) -> None:
        while True:
            try:
                one, _ = listening.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", port))
            for pair in ((one, other), (other, one)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                target.sendall(content)
        except OSError:
            pass
        finally:
            target.close()


# ── what is refused, without a server ─────────────────────────────────────────────────────────────────────


def test_headers_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HEADERS_VARIABLE, "Authorization: Bearer a:b\n\nx-team: churn\n")
    found = parse("grpc://localhost:8001", Credentials(headers=(("x-team", "fraud"),)))
    assert isinstance(found, Remote)
    assert found.credentials.headers == (("x-team", "fraud"), ("authorization", "Bearer a:b"))
    assert parse("managed") == parse("managed"), "the variable is for servers that run already"


def test_nothing_shows_a_header_s_value(keys: Path) -> None:
    found = parse("grpcs://localhost:8001", right(keys))
    assert SECRET not in repr(found) + str(found)
    assert SECRET not in repr(Serving(release=newest(), backends=None, credentials=right(keys)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ca": "/not/there.pem"}, "--triton-ca /not/there.pem: /not/there.pem: no such file"),
        ({"ca": os.devnull}, "--triton-ca /dev/null: .*not a regular file"),
        ({"ca": __file__}, "no certificate in PEM"),
        ({"cert": __file__}, "--triton-cert without --triton-key"),
        ({"key": __file__}, "--triton-key without --triton-cert"),
        ({"headers": (f"authorization {SECRET}",)}, "expected NAME: VALUE"),
        ({"headers": (f"a b: {SECRET}",)}, "expected NAME: VALUE"),
        ({"headers": (f"a: {SECRET}\nb: c",)}, "expected NAME: VALUE"),
    ],
)
def test_a_wrong_option_is_named_and_no_secret(options: dict[str, str], why: str) -> None:
    given = {"ca": None, "cert": None, "key": None, "headers": ()} | options
    with pytest.raises(UsageError, match=why) as caught:
        credentials("triton", **given)  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["managed", "none", "grpc://localhost:8001"])
def test_certificates_without_tls_are_refused(keys: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"--triton-ca with --triton") as caught:
        parse(text, Credentials(ca=str(keys / "ca.pem")))
    assert "grpcs://HOST:PORT" in caught.value.hint


@pytest.mark.parametrize("rest", ["localhost:8001", "localhost:80x1", "[::1", ""])
def test_a_password_in_an_address_is_refused_and_not_shown(rest: str) -> None:
    with pytest.raises(UsageError, match="no user and no password") as caught:
        parse(f"grpcs://me:{SECRET}@{rest}")
    assert SECRET not in str(caught.value)


def test_no_header_reaches_a_server_of_ours() -> None:
    headers = dict.fromkeys(("MILLWORK_TRITON_HEADERS", "MILLWORK_METRICS_HEADERS"), f"authorization: {SECRET}")
    assert for_server({"PATH": "/bin", **headers}, store=False) == {"PATH": "/bin"}


# ── a metrics page ────────────────────────────────────────────────────────────────────────────────────────


class _Page(http.server.BaseHTTPRequestHandler):
    """A metrics page for who has the header; ``/elsewhere`` sends to another server."""

    def do_GET(self) -> None:
        right = self.headers.get("authorization") == SECRET
        self.send_response(302 if self.path == "/elsewhere" else 200 if right else 401)
        self.send_header("Location", "https://127.0.0.1:1/stolen")
        self.send_header("Content-Length", "8" if right else "0")
        self.end_headers()
        if right:
            self.wfile.write(b"counters")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def page(keys: Path) -> Iterator[str]:
    """The page by TLS, for who has a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.load_verify_locations(keys / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    class Serving(http.server.HTTPServer):
        def get_request(self) -> tuple[ssl.SSLSocket, object]:
            one, where = self.socket.accept()
            wrapped = context.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
            try:
                wrapped.do_handshake()
            except OSError:
                wrapped.close()
                raise
            return wrapped, where

    with Serving(("127.0.0.1", 0), _Page) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_metrics_page_by_tls_with_a_certificate_and_a_header(keys: Path, page: str) -> None:
    files = {name: str(keys / file) for name, file in (("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key"))}
    given = Credentials(**files, headers=(("authorization", SECRET),))
    assert counters.read(f"{page}/metrics", given) == "counters"
    lacking = (
        (Credentials(**files), "Unauthorized", "--metrics-header"),
        (Credentials(headers=given.headers), "CERTIFICATE_VERIFY_FAILED", "--metrics-ca"),
    )
    for less, why, hint in lacking:
        with pytest.raises(UsageError, match=why) as caught:
            counters.read(f"{page}/metrics", less)
        assert hint in caught.value.hint
    with pytest.raises(UsageError, match="it sends to another server") as caught:
        counters.read(f"{page}/elsewhere", given)
    assert SECRET not in str(caught.value)
