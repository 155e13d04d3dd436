"""Start a Triton of our own and stop it without a trace.

Loopback only, explicit model control (what is loaded is what was asked for), its own process group under a supervisor
(supervisor.py) that outlives this process just long enough to stop the server and to remove its shared memory.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from ..errors import PublicationError, TargetError, UsageError
from ..storage import opening
from ..storage.files import refusal
from . import ports as loopback
from . import shared_memory, supervisor
from .install import Installation, server_variables
from .ports import LOOPBACK, Ports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

START_S = 60.0
"""A bare server is ready in a tenth of a second; a machine that is very busy may need more."""

EXIT_S = 5
"""How long the server may take to finish its requests when it is stopped."""

GRACE_S = EXIT_S + 10.0
"""How long the supervisor waits before it kills; models unload within it."""

POLL_S = 0.02
ATTEMPTS = 5
LONGEST_LOG = 1 << 20
TAIL_LINES = 8

_TAKEN = re.compile(r"Socket '[^']*:(?P<port>\d+)' already in use")
_HARMLESS = re.compile(r"NVML|DCGM|CUDA|CudaDriver|pinned", re.IGNORECASE)
"""What every start on a machine without a GPU logs."""


class RunningServer(AbstractContextManager["RunningServer"]):
    """A server that is ready. ``stop()``, or leaving the ``with`` block, stops it; both may be done twice."""

    def __init__(self, process: subprocess.Popen[bytes], pid: int, ports: Ports, log: Path, memory: str) -> None:
        self.pid = pid
        self.ports = ports
        self.log = log
        self._supervisor = process
        self._memory = memory

    @property
    def grpc_url(self) -> str:
        """``grpc://127.0.0.1:PORT``, as ``--triton`` takes it."""
        return f"grpc://{LOOPBACK}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.http}"

    @property
    def metrics_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.metrics}/metrics"

    @property
    def alive(self) -> bool:
        return self._supervisor.poll() is None

    def ended(self, seconds: float) -> int | None:
        """The server's exit status (128 + N for signal N) if it ends by itself within so many seconds, else None."""
        try:
            return self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self) -> str:
        """The last lines of the log that say something about a failure."""
        return _tail(self.log)

    def stop(self) -> None:
        """Stop the server and its Python stubs, and remove their shared memory."""
        _stop(self._supervisor, self._memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    installation: Installation,
    repository: Path | str,
    *,
    grpc_port: int | None = None,
    http_port: int | None = None,
    metrics_port: int | None = None,
    log: Path,
    strict_readiness: bool = False,
    options: Sequence[str] = (),
) -> RunningServer:
    """A server on ``repository`` that is ready and has no model loaded. Its output goes to ``log``.

    ``repository``: a folder, or a store's URL as Triton takes it.

    Ports that are None are chosen. ``options`` are more of tritonserver's own. ``strict_readiness``: whether a
    model that failed to load makes the whole server not ready.

    Raises UsageError for a port or a repository that can't be used, PublicationError if the server doesn't start.
    """
    where = str(repository)
    store = "://" in where
    if not store:
        if not Path(where).is_dir():
            raise UsageError(f"{where}: there is no such folder", "Give the folder that holds the models' folders.")
        where = str(Path(where).resolve())
    variables = server_variables(installation, os.environ, store=store)
    shared_memory.remove_stale()
    for _attempt in range(ATTEMPTS):
        ports = loopback.choose(grpc_port, http_port, metrics_port)
        command = _command(installation, where, ports, strict_readiness, options)
        server = _start_once(variables, command, ports, log)
        if server is not None:
            return server
    raise PublicationError(
        "Triton found no free ports: other processes took them each time",
        "Give --grpc-port, --http-port, --metrics-port.",
    )


def _command(
    installation: Installation, repository: str, ports: Ports, strict_readiness: bool, options: Sequence[str]
) -> list[str]:
    return [
        installation.server,
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        f"--backend-directory={installation.backends}",
        f"--cache-directory={installation.caches}",
        f"--strict-readiness={str(strict_readiness).lower()}",
        f"--exit-timeout-secs={EXIT_S}",
        *(f"--{kind}-address={LOOPBACK}" for kind in ("grpc", "http", "metrics")),
        f"--grpc-port={ports.grpc}",
        f"--http-port={ports.http}",
        f"--metrics-port={ports.metrics}",
        *options,
    ]


def _start_once(variables: dict[str, str], command: list[str], ports: Ports, log: Path) -> RunningServer | None:
    """The server, ready; None if a port that we chose was taken meanwhile."""
    memory = shared_memory.prefix()
    process = _launch(variables, [*command, f"--backend-config=python,shm-region-prefix-name={memory}"], memory, log)
    try:
        pid = _wait_until_ready(process, ports, time.monotonic() + START_S)
        if pid is not None:
            return RunningServer(process, pid, ports, log, memory)
        ended = process.poll()
    except BaseException:  # Ctrl-C while it starts
        _stop(process, memory)
        raise
    _stop(process, memory)
    taken = _TAKEN.search(_read(log))
    if ended is not None and taken is not None:
        for name in ports.chosen:
            if getattr(ports, name) == int(taken["port"]):
                raise UsageError(
                    f"--{name}-port {taken['port']}: another process took it", f"Choose another --{name}-port."
                )
        return None
    how = f"ended with status {ended}" if ended is not None else f"was not ready after {START_S:.0f} s"
    raise PublicationError(f"Triton {how} ({command[0]}):\n{_tail(log)}", f"The whole log: {log}")


def _launch(variables: dict[str, str], command: list[str], memory: str, log: Path) -> subprocess.Popen[bytes]:
    """The supervisor, with the server under it. Its standard input is the line that stops it."""
    script = str(Path(supervisor.__file__).resolve())
    owner = [str(os.getpid()), memory, str(GRACE_S)]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with opening.overwritten(log) as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", script, *owner, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )
    except OSError as error:
        raise TargetError(refusal(error, log)) from error


def _wait_until_ready(process: subprocess.Popen[bytes], ports: Ports, deadline: float) -> int | None:
    """The server's pid once it is ready; None if it ended, or isn't ready by the deadline (monotonic seconds).

    The ports must be the server's own: on a port that it lost to another process, that one would answer.
    """
    while process.poll() is None and time.monotonic() < deadline:
        pid = _listener(process.pid, set(ports.all))
        if pid is not None and _says_ready(ports.http):
            return pid
        time.sleep(POLL_S)
    return None


def _listener(supervisor_pid: int, ports: set[int]) -> int | None:
    """The pid of the supervisor's server if it listens on all of ``ports``."""
    try:
        for child in psutil.Process(supervisor_pid).children():
            listening = {
                connection.laddr.port
                for connection in child.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
            }
            if ports <= listening:
                return int(child.pid)
    except psutil.Error:  # it ended while we looked
        return None
    return None


def _says_ready(port: int) -> bool:
    # http.client and not urllib: no proxy stands between this machine and itself.
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes], memory: str) -> None:
    """End the supervisor, which ends the server. A second Ctrl-C, or a supervisor that hangs, kills both."""
    try:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(timeout=GRACE_S + 5)
    except BaseException as error:
        process.kill()  # the server dies with it (PR_SET_PDEATHSIG), and its stubs see that it is gone
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    finally:
        shared_memory.remove(memory)


def _tail(log: Path) -> str:
    """What the log says of a failure: its errors; where there are none, what isn't Triton's (a crash, the loader)."""
    lines = [line.strip() for line in _read(log).splitlines() if line.strip() and line[0] not in "+|"]
    errors = [line for line in lines if re.match(r"[EF]\d{4} ", line) and not _HARMLESS.search(line)]
    others = [line for line in lines if not re.match(r"[A-Z]\d{4} ", line) and not _HARMLESS.search(line)]
    told = (errors or others or lines)[-TAIL_LINES:]
    return "\n".join(f"  {line[:300]}" for line in told) or "  (it logged nothing)"


def _read(log: Path) -> str:
    try:
        return opening.read_ends(log, LONGEST_LOG).decode(errors="replace")
    except OSError:
        return ""
