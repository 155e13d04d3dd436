"""What a step may do in the sandbox: every way out is denied by itself, and honest work isn't disturbed."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import pytest
import xgboost

from millwork import worker
from millwork.compile import compile_steps
from millwork.compile.frontends.loaded_model import Oracle, Signature
from millwork.errors import TargetError
from millwork.pipeline import optimize as pipeline
from millwork.pipeline import run_record
from millwork.pipeline.options import Options
from millwork.validators.gate_steps import RowsRequest
from millwork.values import FeatureContract, OutputContract, Provenance
from millwork.values.base import FilePath
from millwork.worker import Done, Sandbox, confinement, sandbox

SANDBOX = Path(sandbox.__file__)

PROBES = {
    "exec": "os.execv('/bin/true', ['true'])",
    "a program": "subprocess.run(['/bin/true'])",
    "a program by posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "fork": "os._exit(0) if os.fork() == 0 else os.wait()",
    "vfork, as a plain call": "call(58)",
    "clone3, as a plain call": "call(435, ctypes.create_string_buffer(88), 88)",
    "a socket": "socket.socket()",
    "a socket of this machine": "socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "socket.socketpair()",
    "a connection": "socket.create_connection(('127.0.0.1', 1))",
    "a signal to its parent": "os.kill(os.getppid(), 0)",
    "a signal to everyone": "os.kill(-1, 0)",
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "another's memory": "call(310, os.getppid(), None, 0, None, 0, 0)",
    "its own memory as a file": "open('/proc/self/mem', 'r+b')",
    "another's environment": "open(f'/proc/{os.getppid()}/environ').read()",
    "a file of the system's": "open('/etc/passwd').read()",
    "a file of the user's": "open(SECRET).read()",
    "a folder's names": "os.listdir(os.path.dirname(SECRET))",
    "a file outside, written": "open(SECRET + '.new', 'w')",
    "a file outside, cut": "os.truncate(SECRET, 0)",
    "a file outside, removed": "os.unlink(SECRET)",
    "a file outside, cut as it is opened": "os.open(SECRET, os.O_RDONLY | os.O_TRUNC)",
    "a file outside, opened neither to read nor to write": "os.open(SECRET, os.O_ACCMODE)",
    "a file's mode": "os.chmod(SECRET, 0o666)",
    "a file's mode, from its folder": "os.chmod('secret', 0o666, dir_fd=os.open('..', os.O_PATH))",
    "a file's mode, by the newer call": "call(452, -100, SECRET.encode(), 0o666, 0)",
    "an open file's mode": "os.fchmod(os.open(GIVEN, os.O_RDONLY), 0o666)",
    "a file's times": "os.utime(SECRET)",
    "a file's owner": "os.chown(SECRET, -1, -1)",
    "a file's attributes": "os.setxattr(SECRET, 'user.x', b'x')",
    "a file's flags": "fcntl.ioctl(os.open(GIVEN, os.O_RDONLY), 0x40086602, bytes(8))",
    "a file's project": "fcntl.ioctl(os.open(GIVEN, os.O_RDONLY), 0x401C5820, bytes(28))",
    "a lease on a file": "fcntl.fcntl(os.open(GIVEN, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "signals of a folder's changes": "fcntl.fcntl(os.open('.', os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_MODIFY)",
    "a file's signals to its parent": "fcntl.fcntl(os.open(GIVEN, os.O_RDONLY), fcntl.F_SETOWN, os.getppid())",
    "the same, as a process": "fcntl.fcntl(os.open(GIVEN, os.O_RDONLY), 15, struct.pack('ii', 1, os.getppid()))",
    "which signal that is": "fcntl.fcntl(os.open(GIVEN, os.O_RDONLY), 10, 9)",
    "what it may read, written": "open(GIVEN, 'a')",
    "a symbolic link out": "os.symlink(SECRET, 'link')",
    "a hard link": "os.link(GIVEN, 'link')",
    "a device": "os.mknod('device', 0o600 | 0o020000, os.makedev(1, 1))",
    "a pipe with a name": "os.mkfifo('pipe')",
    "up and out": "open('../secret').read()",
    "a mount": "call(165, b'none', b'.', b'tmpfs', 0, None)",
    "a namespace": "call(272, 0x10000000)",
    "another root": "os.chroot('.')",
    "io_uring": "call(425, 1, ctypes.create_string_buffer(120))",
    "bpf": "call(321, 0, None, 0)",
    "a memory file": "os.memfd_create('code')",
    "userfaultfd": "call(323, 0)",
    "kernel keys": "call(250, 0, -3, 1)",
    "another's limits": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "another's cores": "os.sched_setaffinity(os.getppid(), os.sched_getaffinity(0))",
    "another's priority": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
    "another user": "os.setuid(1)",
    "to outlive its parent": "call(157, 1, 0, 0, 0, 0)",
    "a setting of the process": "call(157, 4, 0, 0, 0, 0)",
    "32-bit numbers of calls": "call(0x40000000 + 39)",
}
"""Each is an expression that succeeds outside the sandbox, or fails with another error than a missing right."""


@pytest.fixture(autouse=True)
def here() -> None:
    if sandbox.missing():
        pytest.skip(sandbox.missing())


def confined(
    folder: Path, body: str, *, gpu: bool = False, landlock: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The body, in a process that is confined to read ``given`` and to write to ``own``, as by a Landlock of that
    version."""
    for name in ("given", "secret"):
        (folder / name).write_text("text")
    own = folder / "own"
    own.mkdir(exist_ok=True)
    program = f"""
import ctypes, fcntl, json, os, resource, runpy, socket, struct, subprocess, threading
SECRET, GIVEN = {str(folder / "secret")!r}, {str(folder / "given")!r}
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
os.chdir({str(own)!r})
confine = runpy.run_path({str(SANDBOX)!r})["confine"]
if {landlock}:
    confine.__globals__["landlock_version"] = lambda: {landlock}
confine([GIVEN], [{str(own)!r}], gpu={gpu})
{textwrap.dedent(body)}
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the plain calls' numbers are x86_64's")
@pytest.mark.parametrize("name", PROBES)
def test_every_way_out_is_denied(name: str, tmp_path: Path) -> None:
    body = f"""
    try:
        {PROBES[name]}
    except PermissionError:
        print("denied")
    except OSError as error:
        print("denied" if error.errno in (1, 13, 38) else repr(error))  # 38: as if the kernel hadn't it
    else:
        print("allowed")
    """
    done = confined(tmp_path, body)
    assert done.stdout == "denied\n", done
    assert (tmp_path / "secret").read_text() == (tmp_path / "given").read_text() == "text"


GPU_MAY = {"a socket of this machine", "a memory file"}
"""What the profile for work on a GPU lets through of the above."""

MORE_FOR_GPU = {
    "an internet socket": "socket.socket(socket.AF_INET)",
    "an internet socket of version 6": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
    "a netlink socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a connection to a socket of this machine": "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "a connection to one without a name": "socket.socket(socket.AF_UNIX).connect('\\0somebody')",
    "a connection taken up": "listening().accept()",
    "a message": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', '\\0somebody')",
    "a socket's signals to its parent": "fcntl.ioctl(socket.socket(socket.AF_UNIX), 0x8901, OWNER)",
    "the same, by its other name": "fcntl.ioctl(socket.socket(socket.AF_UNIX), 0x8902, OWNER)",
    "a socket with a name": "socket.socket(socket.AF_UNIX).bind('named')",
    "its own memory, written": "open('/proc/self/mem', 'r+b')",
    "another process's memory map": "open(f'/proc/{os.getppid()}/maps').read()",
    "the devices' names": "os.listdir('/dev')",
    "a terminal": "open('/dev/tty')",
    "a device that isn't NVIDIA's": "open('/dev/full', 'w')",
    "a memory file, as a program": "os.execve(os.memfd_create('code'), ['x'], {})",
    "shared memory with others": "open('/dev/shm/millwork', 'w')",
    "a setting of the kernel's": "open('/proc/sys/kernel/core_pattern', 'w')",
}
GPU_NEEDS = {
    "the socket that libcuda binds": "listening()",
    "a memory file": "os.write(os.memfd_create('code'), b'x')",
    "what is mapped into itself": "open('/proc/self/maps').read()",
    "which devices there are": "open('/proc/devices').read()",
    "its own folder": "open('mine', 'w').write('x')",
}


CUTS = {
    "by its path": "os.truncate(SECRET, 0)",
    "what it may read": "os.truncate(GIVEN, 0)",
    "as it is opened to read": "os.open(GIVEN, os.O_RDONLY | os.O_TRUNC)",
    "as a file outside is": "os.open(SECRET, os.O_RDONLY | os.O_TRUNC)",
    "from its folder": "os.open('secret', os.O_TRUNC | os.O_NOFOLLOW, dir_fd=os.open('..', os.O_PATH))",
    "as it is opened neither to read nor to write": "os.open(SECRET, os.O_ACCMODE | os.O_TRUNC)",
    "by the old call": "call(2, SECRET.encode(), os.O_TRUNC)",
    "by the old call, in the other mode": "call(2, SECRET.encode(), os.O_TRUNC | os.O_ACCMODE)",
    "by creat": "call(85, SECRET.encode(), 0o600)",
    "by openat2": "call(437, -100, SECRET.encode(), struct.pack('QQQ', os.O_TRUNC, 0, 0), 24)",
}
ORDINARY = {
    "its own file, written": "open('mine', 'w').write('x')",
    "its own file, written over": "open('mine', 'w').write('x')",
    "its own file, read and written over": "open('mine', 'w+').write('x')",
    "its own file, cut": "os.ftruncate(os.open('mine', os.O_WRONLY), 0)",
    "its own cores": "os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "its own cores, by its number": "os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))",
    "a lock": "fcntl.lockf(os.open('mine', os.O_RDWR), fcntl.LOCK_EX)",
    "another number for a file": "fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 100)",
    "a file's flags": "os.set_blocking(os.pipe()[0], False)",
    "whether it is a terminal": "os.isatty(0)",
    "a thread's name": "call(157, 15, b'name', 0, 0, 0)",
    "what it may read": "open(GIVEN).read()",
}


def outcomes(folder: Path, probes: dict[str, str], *, gpu: bool = False, landlock: int | None = None) -> dict[str, str]:
    """What each probe gives, all in one process: ``denied``, ``allowed`` or the error."""
    body = f"""
    OWNER = struct.pack("i", os.getppid())
    def listening():
        own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.bind(f"\\0cuda-uvmfd-{{os.getpid()}}-{{len(said)}}")
        own.listen(16)
        return own
    said = {{}}
    for name, probe in {probes!r}.items():
        try:
            eval(probe)
        except OSError as error:
            said[name] = "denied" if error.errno in (1, 13, 38) else repr(error)
        else:
            said[name] = "allowed"
    print(json.dumps(said))
    """
    done = confined(folder, body, gpu=gpu, landlock=landlock)
    assert done.returncode == 0, done
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the plain calls' numbers are x86_64's")
def test_the_profile_for_work_on_a_gpu_still_denies(tmp_path: Path) -> None:
    """As far as a machine without one can show it: NVIDIA's own devices aren't here."""
    probes = {name: probe for name, probe in PROBES.items() if "if os.fork" not in probe} | MORE_FOR_GPU
    found = outcomes(tmp_path, probes, gpu=True)
    assert {name for name in found if found[name] != "denied"} == GPU_MAY, found
    assert set(outcomes(tmp_path, GPU_NEEDS, gpu=True).values()) == {"allowed"}


def test_without_it_a_step_may_do_none_of_that(tmp_path: Path) -> None:
    needs = {name: probe for name, probe in GPU_NEEDS.items() if name != "its own folder"}
    assert set(outcomes(tmp_path, needs, gpu=False).values()) == {"denied"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the plain calls' numbers are x86_64's")
@pytest.mark.parametrize("landlock", [None, 2, 1])
def test_no_file_is_cut_where_landlock_does_not_guard_it(landlock: int | None, tmp_path: Path) -> None:
    """Version 3 (Linux 6.2) does; with an older one the calls are filtered."""
    assert set(outcomes(tmp_path, CUTS, landlock=landlock).values()) == {"denied"}
    assert (tmp_path / "secret").read_text() == (tmp_path / "given").read_text() == "text"
    assert set(outcomes(tmp_path, ORDINARY, landlock=landlock).values()) == {"allowed"}


def test_it_holds_for_threads_that_it_starts_and_cannot_be_undone(tmp_path: Path) -> None:
    body = f"""
    def ask():
        try:
            print(open(SECRET).read())
        except PermissionError:
            print("denied")
    thread = threading.Thread(target=ask)
    thread.start(); thread.join()
    runpy.run_path({str(SANDBOX)!r})["confine"]([SECRET], ["/"])
    ask()
    """
    done = confined(tmp_path, body)
    assert done.stdout.splitlines()[:1] == ["denied"], done
    assert "text" not in done.stdout


def test_its_own_folder_is_its_own(tmp_path: Path) -> None:
    body = """
    os.mkdir("a"); open("a/b", "w").write("1"); os.rename("a/b", "a/c"); os.unlink("a/c"); os.rmdir("a")
    print(open(GIVEN).read())
    """
    assert confined(tmp_path, body).stdout == "text\n"


def test_a_crash_is_still_a_crash(tmp_path: Path) -> None:
    assert confined(tmp_path, "os.abort()").returncode == -6


# ── as steps use it ───────────────────────────────────────────────────────────────────────────────────────────────


class Inner(msgspec.Struct):
    file: FilePath
    label: str


class Paths(msgspec.Struct):
    given: FilePath
    more: tuple[Inner, ...]


class Said(msgspec.Struct):
    said: list[str]


STEPS = """
import msgspec, os
class Inner(msgspec.Struct):
    file: str
    label: str
class Paths(msgspec.Struct):
    given: str
    more: tuple[Inner, ...]
class Said(msgspec.Struct):
    said: list[str]
def look(request: Paths) -> Said:
    said = []
    inner, = request.more
    for path in (request.given, inner.file, inner.label, request.given + ".not-named", "/etc/passwd"):
        try:
            said.append(open(path).read()[:5])
        except OSError as error:
            said.append(type(error).__name__)
    open("mine", "w").close()
    open(os.path.join(os.environ["TMPDIR"], "mine"), "w").close()
    said.append(str(os.path.exists("mine")))
    return Said(said)
def look_at_its_variables(_: Said) -> Said:
    first = open("/proc/self/environ").read().split(chr(0))
    return Said([f"{name}={value}" for name, value in os.environ.items()] + first)
def work(_: Said) -> Said:
    import numpy as np, xgboost
    rows = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=2).fit(rows, rows[:, 0])
    model.save_model("model.ubj")
    np.savez("rows.npz", rows=rows)
    return Said(sorted(os.listdir()))
def look_at_itself(_: Said) -> Said:
    try:
        return Said(["seen" if open("/proc/self/maps").read() else "empty"])
    except OSError as error:
        return Said([type(error).__name__])
"""


def beside_steps(folder: Path, module: str) -> Path:
    """A step's own folder, beside a module of :data:`STEPS`."""
    (folder / f"{module}.py").write_text(STEPS)
    own = folder / "own"
    own.mkdir()
    return own


@pytest.mark.parametrize("gpu", [True, False])
def test_a_step_is_told_its_profile(gpu: bool, tmp_path: Path) -> None:
    own = beside_steps(tmp_path, "gpu_steps")
    done = worker.run(
        "gpu_steps:look_at_itself", Said([]), Said, folder=own, extra_path=tmp_path, sandbox=Sandbox(gpu=gpu)
    )
    assert isinstance(done, Done), done
    assert done.value.said == (["seen"] if gpu else ["PermissionError"])


SECRETS = (
    "MILLWORK_KEY_PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AZURE_STORAGE_ACCOUNT_KEY", "PIP_INDEX_URL",
    "GOOGLE_SERVICE_ACCOUNT_KEY", "HF_TOKEN", "TORCH_HUB_TOKEN", "HTTPS_PROXY", "DATABASE_URL", "ORT_SECRET",
    "MILLWORK_TRITON_HEADERS", "MILLWORK_METRICS_HEADERS",
)  # fmt: skip


@pytest.mark.parametrize("safe", [True, False])
def test_a_step_sees_no_secret_and_its_thread_variables(
    safe: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does its memory have one: what it was started with is what /proc shows, which the profile for GPUs reads."""
    own = beside_steps(tmp_path, "variable_steps")
    for name in SECRETS:
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path))
    monkeypatch.setenv("MODEL_DIR", "named")
    monkeypatch.setenv("OTHER_DIR", "not named")
    monkeypatch.setenv("MILLWORK_STEP_VARIABLES", "SOME, MODEL_DIR")
    step = "variable_steps:look_at_its_variables"
    done = worker.run(
        step, Said([]), Said, folder=own, extra_path=tmp_path, sandbox=Sandbox(on=safe, gpu=True), threads=3
    )
    assert isinstance(done, Done), done
    assert {f"{name}=hidden" in done.value.said for name in SECRETS} == {not safe}
    usual = {"KMP_BLOCKTIME=7", "OMP_NUM_THREADS=3", f"MILLWORK_CACHE={tmp_path}", "MODEL_DIR=named"}
    assert usual <= set(done.value.said)
    assert ("OTHER_DIR=not named" in done.value.said) is not safe
    script = tmp_path / "script.py"
    script.write_text("import os; os.write(int(os.environ['MILLWORK_REPLY_FD']), chr(10).join(os.environ).encode())")
    said = worker.run_script(script, [], python=sys.executable, folder=own, sandbox=Sandbox(on=safe))
    assert isinstance(said, Done), said
    assert {name in said.value.decode().split("\n") for name in SECRETS} == {not safe}


@pytest.mark.parametrize("variable", ["OMP_PROC_BIND=true", "OMP_PLACES=cores", "GOMP_CPU_AFFINITY=0-1"])
def test_work_in_threads_passes_where_threads_are_to_be_pinned(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sandbox lets no thread be pinned by its number, and libgomp would end the process for it."""
    own = beside_steps(tmp_path, "threaded_steps")
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    done = worker.run("threaded_steps:work", Said([]), Said, folder=own, extra_path=tmp_path)
    assert isinstance(done, Done), done
    assert done.value.said == ["model.ubj", "rows.npz", "work.log"]


@pytest.mark.parametrize("safe", [True, False])
def test_a_step_reads_what_its_call_names(safe: bool, tmp_path: Path) -> None:
    own, outside = tmp_path / "own", tmp_path / "outside"
    own.mkdir(), outside.mkdir()
    (outside / "sandbox_steps.py").write_text(STEPS)
    for name in ("one", "two", "label", "one.not-named"):
        (tmp_path / name).write_text(name)
    request = Paths(str(tmp_path / "one"), (Inner(str(tmp_path / "two"), str(tmp_path / "label")),))
    done = worker.run("sandbox_steps:look", request, Said, folder=own, extra_path=outside, sandbox=Sandbox(on=safe))
    assert isinstance(done, Done), done
    refused = ["PermissionError"] * 3 if safe else ["label", "one.n", Path("/etc/passwd").read_text()[:5]]
    assert done.value.said == ["one", "two", *refused, "True"]


@pytest.mark.parametrize("name", ["/", "/root/.ssh", "/" + "a" * 300, "/a\0b"])
def test_what_a_model_calls_its_features_is_no_path(name: str, tmp_path: Path) -> None:
    """Neither is it granted, nor does it end the run."""
    features = FeatureContract(names=(name,), named=True, categories={name: (name,)})
    oracle = Oracle(framework="xgboost", version="3.0.0", native_file=name, parameters={name: name})
    where = Provenance(path=name, format="xgboost-json", sha256="", framework="xgboost", framework_version=name)
    output = OutputContract(kind="value", task="regression", labels=(name,))
    signature = Signature(
        provenance=where, features=features, output=output, objective=name, oracle=oracle, notes=(name,)
    )
    request = RowsRequest(lowered=str(tmp_path), signature=signature, label=name)
    assert list(confinement.paths_in(request)) == [str(tmp_path)]


def test_models_are_read_in_it(tmp_path: Path) -> None:
    """The log of the step that reads a model says so: the process has no new rights, and a filter."""
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    model = tmp_path / "model.ubj"
    xgboost.XGBRegressor(n_estimators=3).fit(rows, rows[:, 0]).save_model(model)
    work = tmp_path / "work"
    work.mkdir()
    done = worker.run(
        "millwork.compile.compile_steps:load",
        compile_steps.LoadRequest(path=str(model)),
        compile_steps.Loaded,
        folder=work,
    )
    assert isinstance(done, Done), done


def test_a_kernel_without_it_is_refused_and_trust_is_the_way_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 0)
    request = compile_steps.LoadRequest(path=str(tmp_path / "model.ubj"))
    with pytest.raises(TargetError, match="no Landlock") as refused:
        worker.run("millwork.compile.compile_steps:load", request, compile_steps.Loaded, folder=tmp_path)
    assert "--trust" in (refused.value.hint or "")
    worker.run(
        "millwork.compile.compile_steps:load", request, compile_steps.Loaded, folder=tmp_path, sandbox=worker.NO_SANDBOX
    )


def test_this_machine_can_say_what_it_has() -> None:
    assert sandbox.landlock_version() >= 1
    assert sandbox.has_seccomp()
    assert ctypes.sizeof(ctypes.c_void_p) == 8


def test_trust_runs_the_whole_job_without_it_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    model = tmp_path / "model.ubj"
    xgboost.XGBRegressor(n_estimators=3).fit(rows, rows[:, 0]).save_model(model)
    options = Options(
        model=str(model), backends="onnx", traffic="batch=1", triton="none", dry_run=True, run_dir=str(tmp_path / "run")
    )
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 0)
    with pytest.raises(TargetError, match="no Landlock"):
        pipeline.optimize(options)
    found, error = pipeline.optimize(msgspec.structs.replace(options, trust=True))
    assert error is None
    assert run_record.TRUSTED in found.notes
