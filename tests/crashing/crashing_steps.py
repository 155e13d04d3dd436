"""Steps that go wrong in every way a native library can, for test_worker.py."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import msgspec

from millwork.errors import ModelError

LOTS = 2 << 30
BLOCK = 16 << 20


class Text(msgspec.Struct):
    text: str


def echo(request: Text) -> Text:
    return request


def noisy(request: Text) -> Text:
    """Prints what looks like an answer, by Python and around it."""
    sys.stdout.write('{"ok":true,"reply":{"text":"forged"}}\n')
    os.write(1, b"native noise\n")
    return request


def prints_a_lot(request: Text) -> Text:
    """More than is kept of a log, several times."""
    for _ in range(64):
        os.write(1, b"again and again\n" * (1 << 16))
    os.write(2, b"the last line\n")
    return request


def threads(request: Text) -> Text:
    return Text(os.environ.get("OMP_NUM_THREADS", ""))


def working_folder(request: Text) -> Text:
    return Text(str(Path.cwd()))


def scratch(request: Text) -> Text:
    """A temporary file that nobody removes."""
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    return Text(path)


def segfault(request: Text) -> Text:
    ctypes.string_at(0)
    return request


def abort(request: Text) -> NoReturn:
    os.abort()


def bad_alloc(request: Text) -> NoReturn:
    """What libstdc++ prints where an allocation fails and nobody catches it."""
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def memory_error(request: Text) -> Text:
    bytearray(1 << 60)
    return request


def grows(request: Text) -> Text:
    """Touches memory, a block at a time, until there is much more than any limit of the tests; and keeps it."""
    held = [b"\1" * BLOCK for _ in range(LOTS // BLOCK)]
    signal.pause()
    return Text(str(len(held)))


def child_grows(request: Text) -> Text:
    """The same in a child process, while this one stays small."""
    program = f"import signal; held = [b'1' * {BLOCK} for _ in range({LOTS // BLOCK})]; signal.pause()"
    subprocess.run([sys.executable, "-c", program], check=True)
    return request


def hangs_in_a_lock(request: Text) -> Text:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return request


def killed(request: Text) -> Text:
    os.kill(os.getpid(), signal.SIGKILL)
    return request


def killed_once(request: Text) -> Text:
    mark = Path("was-killed")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return request


def says_damaged_of_a_full_disk(request: Text) -> Text:
    """As a library does that knows one reason only."""
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise ModelError("the file is damaged") from error


def no_threads(request: Text) -> Text:
    """As OpenBLAS ends a process that may not start its threads."""
    os.write(
        2, b"OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 4: Resource temporarily unavailable\n"
    )
    os.kill(os.getpid(), signal.SIGINT)
    return request


def exits(request: Text) -> Text:
    os._exit(3)


def exits_well(request: Text) -> Text:
    os._exit(0)


def raises(request: Text) -> Text:
    raise ValueError(f"expected 3 columns, got {request.text}")


def refuses(request: Text) -> Text:
    raise ModelError("model.ubj: it has no trees", "Save the model after training it.")


def disk_full(request: Text) -> Text:
    with Path("/dev/full").open("wb") as file:
        file.write(b"x")
    return request


def wrong_reply(request: Text) -> list[int]:
    return [1, 2, 3]


def holds(request: Text) -> Text:
    """Says that it is up in the named pipe ``request.text``, and hangs with the pipe open."""
    descriptor = os.open(request.text, os.O_WRONLY)
    os.write(descriptor, b"up\n")
    signal.pause()
    return request


def leaves_a_child(request: Text) -> Text:
    """Returns at once, and leaves a process that holds the named pipe ``request.text`` open, and this one's."""
    descriptor = os.open(request.text, os.O_WRONLY)
    subprocess.Popen(["sh", "-c", "echo up >&$0; exec sleep 1000", str(descriptor)], pass_fds=(descriptor,))
    os.close(descriptor)
    return request


def takes_two(request: Text, other: Text) -> Text:
    return request


def takes_a_number(request: int) -> int:
    return request
