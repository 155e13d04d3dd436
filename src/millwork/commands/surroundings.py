"""What a command is started in, looked at before any work: folders, names, limits and signals that others set.

What can be put right is: a low limit of open files is raised to what is allowed, and a child's end is waited for though
whoever started us ignores it. The rest is one error, by its name.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from ..errors import MachineError, UsageError
from ..storage.machine import fault, is_text, no_temporary_folder, not_text

FILES_WANTED, FILES_NEEDED = 4096, 64
PROCESSES_LOOKED_AT = 4096
"""Where a user may have fewer threads and processes than this, it is tried whether a few more can be started."""
MEMORY_NEEDED = 1 << 30
"""Bytes of addresses that Python, numpy and one framework take before they do anything."""
FILE_NEEDED = 1 << 20
"""Bytes that a file of ours may have to have: the rows and answers of even a small model."""


def require() -> None:
    """Raise UsageError or MachineError for what would stop any command later."""
    if signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _require_working_folder()
    _require_temporary_folder()
    _require_files()
    _require_memory()
    _require_processes()


def require_text(given: Mapping[str, object]) -> None:
    """UsageError for an option's value that isn't text, as a file's name may be: no record could hold it."""
    for name, value in given.items():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, str) and not is_text(each):
                raise not_text(name.upper() if name == "model" else f"--{name.replace('_', '-')}", each)


def _require_working_folder() -> None:
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise UsageError(
            "the working folder was removed", "Go to a folder that is there (cd), and try again."
        ) from error
    except OSError as error:
        raise UsageError(f"the working folder can't be read: {error.strerror}", "Go to another folder (cd).") from error
    if not is_text(str(here)):
        raise not_text("the working folder", str(here))


def _require_temporary_folder() -> None:
    asked = os.environ.get("TMPDIR", "")
    if not is_text(asked):
        raise not_text("TMPDIR", asked)
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise no_temporary_folder() from error


def _require_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FILES_WANTED:
        most = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= soft < FILES_NEEDED:
        raise MachineError(f"this process may have {soft} open files; {FILES_NEEDED} are needed", "Raise ulimit -n.")
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if 0 <= allowed < FILE_NEEDED:
        raise UsageError(
            f"this process may write files of {allowed:,} bytes; {FILE_NEEDED:,} are needed", "Raise ulimit -f."
        )


def _require_memory() -> None:
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= allowed < MEMORY_NEEDED:
        raise MachineError(
            f"this process may use {allowed / 2**30:.2g} GiB of memory; {MEMORY_NEEDED / 2**30:.2g} GiB are needed",
            "Raise ulimit -v.",
        )


def _require_processes() -> None:
    """A library of numbers that can't start its threads ends the process, by a signal like that of Ctrl-C."""
    allowed = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if not 0 <= allowed < PROCESSES_LOOKED_AT:
        return
    done = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range((os.cpu_count() or 1) + 4):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise fault(error) or error from error
    finally:
        done.set()
        for thread in started:
            thread.join()
