"""Every call by which a process changes files, one at a time: seen before it is made, let through, refused, or the
last.

A forked child gets a seccomp filter that stops it before such calls, and its parent traces it (ptrace). While it is
stopped the file system is as any reader could see it between two calls; there is no state that isn't looked at.

x86-64 Linux. Sources: ptrace(2), seccomp(2), <linux/seccomp.h>, the kernel's table of system calls.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

AT_FDCWD = -100
_FD, _PATH, _AT, _RENAME, _RENAME_AT = "fd", "path", "at", "rename", "rename at"

CALLS = {
    1: ("write", _FD), 18: ("pwrite64", _FD), 20: ("writev", _FD), 40: ("sendfile", _FD), 16: ("ioctl", _FD),
    326: ("copy_file_range", "third"), 74: ("fsync", _FD), 75: ("fdatasync", _FD), 77: ("ftruncate", _FD),
    285: ("fallocate", _FD),
    91: ("fchmod", _FD), 2: ("open", _PATH), 85: ("creat", _PATH), 76: ("truncate", _PATH), 90: ("chmod", _PATH),
    83: ("mkdir", _PATH), 84: ("rmdir", _PATH), 87: ("unlink", _PATH), 257: ("openat", _AT), 258: ("mkdirat", _AT),
    263: ("unlinkat", _AT), 268: ("fchmodat", _AT), 280: ("utimensat", _AT), 82: ("rename", _RENAME),
    86: ("link", _RENAME), 264: ("renameat", _RENAME_AT), 316: ("renameat2", _RENAME_AT), 265: ("linkat", _RENAME_AT),
}  # fmt: skip
"""Number -> the call's name, and where its paths are."""

OPENS = frozenset({"open", "openat", "creat"})
_FICLONE = 0x40049409
_TRACEME, _CONT, _GETREGS, _SETREGS, _SETOPTIONS = 0, 7, 12, 13, 0x4200
_TRACE_SECCOMP, _EXIT_KILL, _EVENT_SECCOMP = 0x80, 0x100000, 7
_RAX, _ORIG_RAX, _ARGUMENTS, _REGISTERS = 10, 15, (14, 13, 12, 7, 9, 8), 27
"""Places in user_regs_struct: rax, orig_rax, and rdi, rsi, rdx, r10, r8, r9."""
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


@dataclass(frozen=True)
class Call:
    """``path``: what it works on; ``to``: of a rename or link, the new name. ``creates``: an open that may make it,
    ``empties``: one that truncates it."""

    name: str
    path: str
    to: str = ""
    creates: bool = False
    empties: bool = False


KILL = -1
Decide = Callable[[Call], int]
"""0: let it be made; an errno: it fails with that, unmade; KILL: the process dies before it."""


def supported() -> bool:
    return sys.platform == "linux" and os.uname().machine == "x86_64"


def traced(work: Callable[[], None], root: Path, decide: Decide) -> int:
    """Do ``work`` in a forked child; ``decide`` is asked before each of its calls that changes something under
    ``root``. The child's wait status: 1 as its exit code where ``work`` raised."""
    child = os.fork()
    if child == 0:
        _child(work)
    os.waitpid(child, 0)  # its SIGSTOP
    _ptrace(_SETOPTIONS, child, 0, _TRACE_SECCOMP | _EXIT_KILL)
    pending = 0
    while True:
        _ptrace(_CONT, child, 0, pending)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return status
        pending = 0
        if status >> 8 == signal.SIGTRAP | _EVENT_SECCOMP << 8:
            call = _call(child)
            if call is None or not _under(call, str(root)):
                continue
            answer = decide(call)
            if answer == KILL:
                os.kill(child, signal.SIGKILL)
                return os.waitpid(child, 0)[1]
            if answer:
                _refuse(child, answer)
        elif os.WSTOPSIG(status) != signal.SIGTRAP:
            pending = os.WSTOPSIG(status)


def _child(work: Callable[[], None]) -> None:
    code = 1
    try:
        _libc.ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        _install()
        work()
        code = 0
    except BaseException:  # noqa: BLE001 -- the end of a forked child, which mustn't run its parent's code
        traceback.print_exc()
    os._exit(code)


def _install() -> None:
    """A filter: RET_TRACE for the calls above, all others allowed."""
    numbers = sorted(CALLS)
    program = [(0x20, 0, 0, 0)]  # load the call's number
    for i, number in enumerate(numbers):
        program.append((0x15, len(numbers) - i, 0, number))  # jump to the last but one where equal
    program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FF00000)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    given = ctypes.create_string_buffer(header, len(header))
    for arguments in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.addressof(given), 0, 0)):
        if _libc.prctl(*(ctypes.c_ulong(value) for value in arguments)):
            raise OSError(ctypes.get_errno(), "prctl")


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def _registers(pid: int) -> ctypes.Array[ctypes.c_ulonglong]:
    found = (ctypes.c_ulonglong * _REGISTERS)()
    _ptrace(_GETREGS, pid, 0, ctypes.addressof(found))
    return found


def _call(pid: int) -> Call | None:
    """The call that the child is stopped before; None for one that changes nothing: an open to read, another ioctl."""
    registers = _registers(pid)
    name, kind = CALLS[registers[_ORIG_RAX]]
    a = [registers[place] for place in _ARGUMENTS]
    if name == "ioctl" and a[1] != _FICLONE:
        return None
    if name in OPENS:
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC if name == "creat" else a[1] if name == "open" else a[2]
        if not flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            return None
        path = _at(pid, a[0], a[1]) if kind == _AT else _at(pid, AT_FDCWD, a[0])
        return Call(name, path, creates=bool(flags & os.O_CREAT), empties=bool(flags & os.O_TRUNC))
    if kind == _FD or kind == "third":
        return Call(name, _descriptor(pid, a[2] if kind == "third" else a[0]))
    if kind == _PATH:
        return Call(name, _at(pid, AT_FDCWD, a[0]))
    if kind == _AT:
        return Call("rmdir" if name == "unlinkat" and a[2] & 0x200 else name, _at(pid, a[0], a[1]))
    if kind == _RENAME:
        return Call(name, _at(pid, AT_FDCWD, a[0]), _at(pid, AT_FDCWD, a[1]))
    return Call(name, _at(pid, a[0], a[1]), _at(pid, a[2], a[3]))


def _at(pid: int, descriptor: int, address: int) -> str:
    path = _text(pid, address)
    if path.startswith("/"):
        return os.path.normpath(path)
    number = ctypes.c_int(descriptor & 0xFFFFFFFF).value
    base = str(Path(f"/proc/{pid}/cwd").readlink()) if number == AT_FDCWD else _descriptor(pid, number)
    return os.path.normpath(f"{base}/{path}")


def _descriptor(pid: int, number: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{ctypes.c_int(number & 0xFFFFFFFF).value}").readlink())
    except OSError:
        return ""


def _text(pid: int, address: int) -> str:
    out = b""
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:  # noqa: PTH123 (unbuffered, no file of a path)
        while b"\0" not in out and len(out) < 1 << 16:
            memory.seek(address + len(out))
            out += memory.read(256 - (address + len(out)) % 256)
    return os.fsdecode(out.partition(b"\0")[0])


def _under(call: Call, root: str) -> bool:
    return any(path == root or path.startswith(f"{root}/") for path in (call.path, call.to))


def _refuse(pid: int, number: int) -> None:
    registers = _registers(pid)
    registers[_ORIG_RAX] = ctypes.c_ulonglong(-1).value
    registers[_RAX] = ctypes.c_ulonglong(-number).value
    _ptrace(_SETREGS, pid, 0, ctypes.addressof(registers))
