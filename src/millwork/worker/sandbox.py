"""What a step that reads somebody's model may do: read what its call names, write to its own folder, and nothing else.

Two layers of the Linux kernel, set by the process on itself and never taken back: Landlock (which files, since 5.13;
no TCP since 6.7, no signals to others since 6.12) and a seccomp filter (which system calls). What isn't on the lists is
refused with an error, as a missing right is, so that a library that tries something goes on without it. Standard
library only: start.py loads this file into interpreters that have no millwork.

Sources: landlock(7), seccomp(2), <linux/landlock.h>, <linux/filter.h>, and the kernel's tables of system calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# ── Landlock ──────────────────────────────────────────────────────────────────────────────────────────────

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same on every architecture."""
_VERSION, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = 1, 2, 4, 8, 16, 32
MAKE_DIR, MAKE_REG, REFER, TRUNCATE, IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1  # every right of version 1: making devices, sockets, pipes and symbolic links among them
_SINCE = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What a rule for a file, not a folder, may grant."""
_NET_TCP = 0b11  # bind, connect: version 4
_SCOPED = 0b11  # abstract sockets, signals: version 6

SYSTEM = (
    "/usr", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/bus/pci/devices", "/sys/fs/cgroup", "/proc/cpuinfo",
    "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
"""What programs read of a system: libraries, and how many cores and how much memory there are."""
DEVICES = ("/dev/null",)
"""What is written to as well."""

GPU_SYSTEM = (
    "/proc/self", "/proc/devices", "/proc/modules", "/proc/driver/nvidia", "/proc/driver/nvidia-uvm",
    "/sys/devices/system/memory", "/sys/devices/pci*", "/sys/module/nvidia*", "/sys/class/drm",
)  # fmt: skip
GPU_DEVICES = ("/dev/nvidia*",)
"""What NVIDIA's driver libraries need beside: patterns. The devices take ioctl, which is the whole of the driver."""


class SandboxError(OSError):
    """A layer isn't there, or can't be set."""


def landlock_version() -> int:
    """Landlock's, 0 where the kernel hasn't it."""
    version = _syscall(_CREATE_RULESET, None, 0, _VERSION)
    return max(version, 0)


def has_seccomp() -> bool:
    """Whether the kernel filters system calls, of an architecture whose numbers are known here."""
    return _machine() is not None and _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0


def missing() -> str:
    """What this machine lacks of it, in words; nothing where it has both layers."""
    if not landlock_version():
        return "this kernel has no Landlock (it takes Linux 5.13 or newer, with Landlock switched on)"
    return "" if has_seccomp() else "this kernel has no seccomp filters, or millwork doesn't know its architecture"


def confine(read: Iterable[str], write: Iterable[str], *, gpu: bool = False) -> None:
    """From now on this process, and every thread of it, may read what lies at or below ``read`` and the interpreter's
    own files, write at or below ``write``, and start, connect to or signal nothing. SandboxError where it can't be.

    ``gpu``: a weaker profile, for work on a GPU: it may also use NVIDIA's devices, read what it itself is in /proc,
    make memory files, and listen on sockets of this machine without a name in the file system (none may be taken up).

    Files that are open stay open.
    """
    lacking = missing()
    if lacking:
        raise SandboxError(lacking)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise SandboxError(ctypes.get_errno(), "no_new_privs can't be set")
    version = landlock_version()
    devices = _found(GPU_DEVICES) if gpu else ()
    seen = _found(GPU_SYSTEM) if gpu else ()
    _restrict_files(version, [*interpreter(), *SYSTEM, *read, *seen], [*DEVICES, *write], devices)
    _filter_calls(version, gpu=gpu)


def _found(patterns: Iterable[str]) -> Iterator[str]:
    """What is there: /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm of ``/dev/nvidia*``."""
    for pattern in patterns:
        yield from map(str, Path("/").glob(pattern.removeprefix("/")))


def interpreter() -> list[str]:
    """Where this interpreter's own files are, and its packages', of packages that are installed editable too, and
    those that links in such a package point at."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, str(Path(sys.executable).parent)}
    home = os.path.realpath(os.path.expanduser("~"))  # noqa: PTH111 (a user without a home is one, too)
    above = [home, *map(str, Path(home).parents)]  # on PYTHONPATH: a home folder is no library
    found.update(path for path in sys.path if path and os.path.realpath(path) not in above)
    for name, module in sys.modules.items():
        if name.startswith("__editable__"):
            found.update(str(path) for path in getattr(module, "MAPPING", {}).values())
    ours = Path(__file__).resolve().parent.parent
    found.update([str(ours), *(str(link.resolve()) for link in ours.iterdir() if link.is_symlink())])
    return sorted({str(Path(path).resolve()) for path in found} | found)


def _restrict_files(version: int, read: Iterable[str], write: Iterable[str], devices: Iterable[str]) -> None:
    handled = _FIRST
    for since, right in _SINCE.items():
        handled |= right if version >= since else 0
    net, scoped = _NET_TCP if version >= 4 else 0, _SCOPED if version >= 6 else 0
    attributes = struct.pack("<QQQ", handled, net, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _syscall(_CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
    if rules < 0:
        raise SandboxError(ctypes.get_errno(), "Landlock gives no set of rules")
    try:
        for paths, rights in ((read, READ), (write, WRITE), (devices, READ | WRITE_FILE | IOCTL_DEV)):
            for path in paths:
                _allow(rules, path, rights & handled)
        if _syscall(_RESTRICT_SELF, rules, 0, 0):
            raise SandboxError(ctypes.get_errno(), "Landlock's rules can't be set")
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, so nothing to read
    try:
        if not Path(path).is_dir():
            rights &= _OF_FILES
        rule = struct.pack("<Qi", rights, descriptor)
        if _syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.c_char_p(rule), 0):
            raise SandboxError(ctypes.get_errno(), f"Landlock takes no rule for {path}")
    finally:
        os.close(descriptor)


# ── seccomp ───────────────────────────────────────────────────────────────────────────────────────────────

_PR_SET_SECCOMP, _PR_GET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 21, 38, 2
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_CALL_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16
_X32 = 0x40000000
CLONE_THREAD = 0x00010000
_AF_UNIX = 1
_ACCESS_MODE, _NEITHER, _O_TRUNC = 3, 3, 0o1000
_TRUNCATE_SINCE = 3
"""Landlock's version that guards cutting a file."""

CALLS = (
    # files, which Landlock guards
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "close", "close_range", "stat",
    "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2", "lseek", "flock",
    "ftruncate", "fallocate", "fadvise64", "fsync", "fdatasync", "getdents64", "getcwd", "chdir", "fchdir", "rename",
    "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "readlink", "readlinkat", "umask",
    "dup", "dup2", "dup3", "pipe", "pipe2", "sendfile", "copy_file_range", "sync_file_range",
    # memory
    "mmap", "munmap", "mprotect", "mremap", "madvise", "brk", "msync", "mincore", "mlock", "munlock", "membarrier",
    "get_mempolicy", "set_mempolicy", "mbind",
    # threads and signals of its own
    "futex", "set_robust_list", "get_robust_list", "rseq", "set_tid_address", "arch_prctl", "sched_yield",
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min",
    "getpriority", "getcpu", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "rt_sigtimedwait",
    "restart_syscall", "exit", "exit_group",
    # waiting, clocks, randomness, who it is
    "poll", "ppoll", "select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2",
    "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "times", "getrandom",
    "getpid", "gettid", "getppid", "getpgrp", "getpgid", "getsid", "getuid", "geteuid", "getgid", "getegid",
    "getgroups", "getresuid", "getresgid", "uname", "sysinfo", "getrusage", "getrlimit", "capget",
)  # fmt: skip
"""What libraries of numbers call. Not among them: programs, sockets, other processes, mounts, keys, kernel modules, and
the modes, owners and times of files, which Landlock doesn't guard."""

PRCTL = (
    3, 21, 23, 30, 39, 42,  # to ask: dumpable, seccomp, capabilities, timer slack, no new rights, huge pages
    15, 16,  # a thread's name
    50, 51, 63, 64,  # the length of vectors, on aarch64
    0x53564D41,  # a name for memory
)  # fmt: skip
"""The options of prctl. Not PR_SET_PDEATHSIG above all: a step dies with its parent."""
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1033, 1034)
"""Its commands: descriptors, flags, locks, a pipe's size, a memory file's seals. Not F_SETOWN, F_SETSIG, F_SETLEASE and
F_NOTIFY, which send signals, or hold up whoever opens the file."""
NO_IOCTL = (0x8901, 0x8902, 0x40086602, 0x401C5820)
"""FIOSETOWN and SIOCSPGRP, which are a socket's F_SETOWN; FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR: they need no right to
write."""

GPU_CALLS = ("memfd_create", "bind", "listen", "getsockname", "setsockopt")
"""libcuda binds an unnamed socket of this machine when it begins, and gives up where it can't. To connect, to accept
and to send aren't among them. ``socket`` itself is allowed for AF_UNIX only."""

_NUMBERS = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
            "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
            "rt_sigreturn": 15, "ioctl": 16, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21,
            "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28,
            "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39, "sendfile": 40, "socket": 41, "bind": 49,
            "listen": 50, "getsockname": 51, "setsockopt": 54, "clone": 56, "exit": 60, "kill": 62, "uname": 63,
            "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getcwd": 79,
            "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "readlink": 89,
            "umask": 95, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98,
            "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110,
            "getpgrp": 111, "getgroups": 115, "getresuid": 118, "getresgid": 120, "getpgid": 121, "getsid": 124,
            "capget": 125, "rt_sigtimedwait": 128, "sigaltstack": 131, "statfs": 137, "fstatfs": 138,
            "getpriority": 140, "sched_getparam": 143, "sched_getscheduler": 145, "sched_get_priority_max": 146,
            "sched_get_priority_min": 147, "mlock": 149, "munlock": 150, "prctl": 157, "arch_prctl": 158,
            "gettid": 186, "time": 201, "futex": 202, "sched_setaffinity": 203, "sched_getaffinity": 204,
            "getdents64": 217, "set_tid_address": 218, "restart_syscall": 219, "fadvise64": 221,
            "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232,
            "epoll_ctl": 233, "tgkill": 234, "mbind": 237, "set_mempolicy": 238, "get_mempolicy": 239, "openat": 257,
            "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "readlinkat": 267,
            "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "get_robust_list": 274,
            "sync_file_range": 277, "epoll_pwait": 281, "fallocate": 285, "eventfd2": 290,
            "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295, "pwritev": 296, "prlimit64": 302,
            "getcpu": 309, "renameat2": 316, "getrandom": 318, "memfd_create": 319, "membarrier": 324,
            "copy_file_range": 326, "statx": 332, "rseq": 334, "clone3": 435, "close_range": 436, "faccessat2": 439,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23,
            "dup3": 24, "fcntl": 25, "ioctl": 29, "flock": 32, "mkdirat": 34, "unlinkat": 35, "renameat": 38,
            "statfs": 43, "fstatfs": 44, "truncate": 45, "ftruncate": 46, "fallocate": 47, "faccessat": 48,
            "chdir": 49, "fchdir": 50, "openat": 56, "close": 57, "pipe2": 59,
            "getdents64": 61, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67,
            "pwrite64": 68, "preadv": 69, "pwritev": 70, "sendfile": 71, "pselect6": 72, "ppoll": 73,
            "readlinkat": 78, "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83, "sync_file_range": 84,
            "capget": 90, "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98,
            "set_robust_list": 99, "get_robust_list": 100, "nanosleep": 101, "clock_gettime": 113,
            "clock_getres": 114, "clock_nanosleep": 115, "sched_getscheduler": 120, "sched_getparam": 121,
            "sched_setaffinity": 122, "sched_getaffinity": 123, "sched_yield": 124, "sched_get_priority_max": 125,
            "sched_get_priority_min": 126, "restart_syscall": 128, "kill": 129, "tgkill": 131, "sigaltstack": 132,
            "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigtimedwait": 137, "rt_sigreturn": 139,
            "getpriority": 141, "getresuid": 148, "getresgid": 150, "times": 153, "getpgid": 155, "getsid": 156,
            "getgroups": 158, "uname": 160, "getrlimit": 163, "getrusage": 165, "umask": 166, "prctl": 167,
            "getcpu": 168, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175,
            "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179,
            "socket": 198, "bind": 200, "listen": 201, "getsockname": 204, "setsockopt": 208, "brk": 214,
            "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222, "fadvise64": 223, "mprotect": 226, "msync": 227,
            "mlock": 228, "munlock": 229,
            "mincore": 232, "madvise": 233, "mbind": 235, "get_mempolicy": 236, "set_mempolicy": 237,
            "prlimit64": 261, "renameat2": 276, "getrandom": 278, "memfd_create": 279, "membarrier": 283,
            "copy_file_range": 285, "statx": 291, "rseq": 293, "clone3": 435, "close_range": 436, "faccessat2": 439,
        },
    ),
}  # fmt: skip
"""Each architecture's own number, and its calls': asm/unistd_64.h, asm-generic/unistd.h. A name that one lacks isn't
there."""


if TYPE_CHECKING:
    Instruction = tuple[int, int, int, int]
    """Of classic BPF: code, how many to jump over if true, if false, operand."""
_LET: Instruction = (_RETURN, 0, 0, _ALLOW)
_REFUSE: Instruction = (_RETURN, 0, 0, _ERRNO | _EPERM)


def _filter_calls(landlock: int, *, gpu: bool) -> None:
    machine = _machine()
    assert machine is not None  # noqa: S101 (confine has asked)
    program = _program(*machine, landlock, gpu=gpu)
    held = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in program))
    head = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(held)))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(head), 0, 0):
        raise SandboxError(ctypes.get_errno(), "the filter of system calls can't be set")


def _program(arch: int, numbers: dict[str, int], landlock: int, *, gpu: bool) -> list[Instruction]:
    """The filter, beside a Landlock of that version."""
    own = os.getpid()
    bodies = {
        # The C library makes threads by clone3, whose flags a filter can't see: it then takes clone.
        "clone3": [(_RETURN, 0, 0, _ERRNO | _ENOSYS)],
        "clone": [_argument(0), (_ANY_SET, 0, 1, CLONE_THREAD), _LET, _REFUSE],
        # A signal to itself, as abort() sends it, its own limits, its own cores: of a thread by 0, not by number.
        "tgkill": _only(0, (own,)),
        "kill": _only(0, (own,)),
        "prlimit64": _only(0, (0, own)),
        "sched_setaffinity": _only(0, (0, own)),
        "prctl": _only(0, PRCTL),
        "fcntl": _only(1, FCNTL),
        "ioctl": [_argument(1), *_each(NO_IOCTL, _REFUSE), _LET],
        "open": _opening(1, landlock),
        "openat": _opening(2, landlock),
        "truncate": [_LET if landlock >= _TRUNCATE_SINCE else _REFUSE],
        "socket": _only(0, (_AF_UNIX,) if gpu else ()),
        **{name: [_LET] for name in (*CALLS, *(GPU_CALLS if gpu else ()))},
    }
    out = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _CALL_AT),
        (_GREATER_EQUAL, 0, 1, _X32),
        _REFUSE,
    ]
    for name, body in bodies.items():
        if name in numbers:
            out += [(_EQUAL, 0, len(body), numbers[name]), *body]
    return [*out, _REFUSE]


def _argument(index: int) -> Instruction:
    """Its low half, which is all that the kernel reads of a number of 32 bits."""
    return (_LOAD, 0, 0, _ARGUMENT_AT + 8 * index)


def _each(values: Iterable[int], answer: Instruction) -> Iterator[Instruction]:
    for value in values:
        yield from ((_EQUAL, 0, 1, value), answer)


def _only(index: int, values: Iterable[int]) -> list[Instruction]:
    """Let through what has one of ``values`` as that argument."""
    return [_argument(index), *_each(values, _LET), _REFUSE]


def _opening(index: int, landlock: int) -> list[Instruction]:
    """Of open's flags: Landlock asks for no right where a file is opened neither to read nor to write, and the
    descriptor still takes ioctl; an old one lets what is opened to read be cut."""
    mode = [_argument(index), (_AND, 0, 0, _ACCESS_MODE), (_EQUAL, 0, 1, _NEITHER), _REFUSE]
    cut = [(_EQUAL, 0, 3, os.O_RDONLY), _argument(index), (_ANY_SET, 0, 1, _O_TRUNC), _REFUSE]
    return [*mode, *(cut if landlock < _TRUNCATE_SINCE else ()), _LET]


# ── the C library ─────────────────────────────────────────────────────────────────────────────────────────

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _syscall(number: int, *arguments: object) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def _machine() -> tuple[int, dict[str, int]] | None:
    with contextlib.suppress(KeyError):
        return _NUMBERS[platform.machine()]
    return None
