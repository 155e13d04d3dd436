"""Our own Triton backend's instances on GPUs, which are emulated (tests/native/fake_cuda.cpp): on the managed Triton,
by KIND_MODEL, as that server has none; and what only a server with a GPU asks, memory of a GPU, by its functions alone
(tests/native/gpu_requests.cpp). Answers are those of the kernel for CPUs, to the bit."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import once
from models import fake_cuda
from models.forests import hard_rows, program_of, random_forest

from millwork.compile import kernel
from millwork.compile.backends.native import cpu_file, cuda_file
from millwork.compile.backends.native import cuda as native_cuda
from millwork.compile.runners.native_runner import Runner
from millwork.errors import PublicationError
from millwork.triton import config as triton_config
from millwork.triton import server
from millwork.triton.client import Session
from millwork.triton.config import ConfigRequest, render
from millwork.triton_releases import find
from millwork.values import OutputContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millwork.passes.program import Program
    from millwork.triton.install import Installation
    from millwork.triton.server import RunningServer

FEATURES = 5
SEVERAL = program_of(random_forest(3, trees=40, depth=10, features=FEATURES, outputs=3), "softmax")
BINARY = program_of(random_forest(5, trees=30, depth=5, features=FEATURES), "binary")
WIDE = program_of(random_forest(8, trees=12, depth=5, features=FEATURES, outputs=6, vector_leaves=True))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an emulated GPU's driver."""
    return once(tmp_path_factory, "fake-cuda", fake_cuda.build)


def put(folder: Path, name: str, program: Program, crossover: int = 300, decision: str = "", cut: str = "0.5") -> Path:
    """The program as version 1 of a model for GPUs; the same for CPUs in ``expected.packed`` beside it."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    cuda_file.write(program, version / native_cuda.MODEL_FILE)
    cpu_file.write(program, version / "expected.packed")
    (version / "forest.fatbin").write_bytes(fake_cuda.FATBIN)
    built = native_cuda.built(program, (), crossover)
    labels = {"decision": decision, "cut": cut} if decision else {}
    width = 1 if decision in ("second", "largest") else program.n_answers
    request = ConfigRequest(
        name=name,
        triton_backend="millwork",
        release=find("26.03"),
        model_file=built.model_file,
        model_sha256="5e" * 32,
        features=FEATURES,
        parameters=built.parameters | labels,
        output=OutputContract(kind="value", task="regression", labels=tuple(map(str, range(width)))),
    )
    (folder / name / "config.pbtxt").write_text(render(request))
    return version


def expected(version: Path, rows: Any, **parameters: str) -> Any:
    return Runner(version / "expected.packed", parameters, threads=1).predict(rows)


def test_its_configuration_asks_for_a_gpu_and_says_what_was_measured(tmp_path: Path) -> None:
    put(tmp_path, "one", BINARY, crossover=77)
    text = (tmp_path / "one" / "config.pbtxt").read_text()
    config = triton_config.parse(text)
    (group,) = config.instance_group
    assert (config.backend, config.default_model_filename) == ("millwork", "forest.cuda")
    assert group.kind == group.KIND_GPU
    assert config.parameters["crossover"].string_value == "77"
    assert triton_config.settings_of(text).kind == "gpu"
    built = native_cuda.built(SEVERAL, (), 5)
    assert (built.triton_backend, built.runner) == (kernel.TRITON_BACKEND, "cuda_runner")


# ── on the managed Triton ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "several", SEVERAL)
    put(folder, "wide", WIDE)
    put(folder, "binary", BINARY)
    put(folder, "label", BINARY, decision="second", cut="0.4")
    put(folder, "largest", SEVERAL, decision="largest")
    for config in folder.glob("*/config.pbtxt"):
        config.write_text(config.read_text().replace("KIND_GPU", "KIND_MODEL"))
    two = folder / "several" / "config.pbtxt"
    two.write_text(two.read_text().replace("count: 1", "count: 2"))
    return folder


@pytest.fixture(scope="module")
def running(
    triton_installation: Installation, repository: Path, driver: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_LIBRARY_PATH", str(driver))
        log = tmp_path_factory.mktemp("log") / "triton.log"
        with server.start(triton_installation, repository, log=log) as one:
            yield one


@pytest.fixture
def session(running: RunningServer) -> Iterator[Session]:
    with Session(running.grpc_url) as one:
        yield one


@pytest.mark.triton
@pytest.mark.parametrize("name", ["several", "wide", "binary"])
@pytest.mark.parametrize("n", [1, 7, 300, 301, 1100])
def test_numbers_in_answers_out_to_the_bit(name: str, n: int, session: Session, repository: Path) -> None:
    session.load(name)
    rows = hard_rows(n, n, FEATURES)
    for _ in range(3):  # launched, recorded, replayed
        assert session.infer(name, rows).tobytes() == expected(repository / name / "1", rows).tobytes()


@pytest.mark.triton
@pytest.mark.parametrize(
    ("name", "parameters"), [("label", {"decision": "second", "cut": "0.4"}), ("largest", {"decision": "largest"})]
)
def test_labels(name: str, parameters: dict[str, str], session: Session, repository: Path) -> None:
    session.load(name)
    rows = hard_rows(1, 200, FEATURES)
    got = session.infer(name, rows)
    assert got.shape == (200, 1)
    assert len(np.unique(got)) > 1
    np.testing.assert_array_equal(got, expected(repository / name / "1", rows, **parameters))


@pytest.mark.triton
def test_many_clients_and_a_model_that_comes_and_goes(
    session: Session, running: RunningServer, repository: Path
) -> None:
    session.load("several")
    batches = [hard_rows(i, 1 + 13 * i % 60, FEATURES) for i in range(40)]

    def ask(rows: Any) -> Any:
        with Session(running.grpc_url) as own:
            return own.infer("several", rows)

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, rows) for rows in batches]
        for _ in range(3):
            session.load("binary")
            session.unload("binary")
        answers = [one.result() for one in asked]
    for rows, answer in zip(batches, answers, strict=True):
        assert answer.tobytes() == expected(repository / "several" / "1", rows).tobytes()


@pytest.mark.triton
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("cut-fatbin", "forest.fatbin isn't as long as it says"),
        ("fatbin-of-another", "forest.fatbin has no code for Emulated .compute capability 9.0."),
        ("no-fatbin", "a forest for GPUs needs its kernels beside it"),
        ("no-gpu-3", "GPU 3: "),
        ("damaged", "the file has changed since it was written"),
        ("crossover", "crossover is 'few'"),
        ("cpu", "the forest is packed for GPUs: set instance_group.kind to KIND_GPU"),
    ],
)
def test_what_cant_be_loaded_says_why(change: str, says: str, session: Session, repository: Path) -> None:
    name = f"not-{change}"
    version = put(repository, name, BINARY)
    config = repository / name / "config.pbtxt"
    text = config.read_text().replace("KIND_GPU", "KIND_CPU" if change == "cpu" else "KIND_MODEL")
    match change:
        case "fatbin-of-another":
            (version / "forest.fatbin").write_bytes(b"another GPU")
        case "cut-fatbin":
            (version / "forest.fatbin").write_bytes(struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 1000) + bytes(999))
        case "no-fatbin":
            (version / "forest.fatbin").unlink()
        case "no-gpu-3":
            text += 'parameters { key: "device" value { string_value: "3" } }\n'
        case "damaged":
            path = version / native_cuda.MODEL_FILE
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        case "crossover":
            text = text.replace('string_value: "300"', 'string_value: "few"')
    config.write_text(text)
    with pytest.raises(PublicationError, match=says):
        session.load(name)


@pytest.mark.triton
def test_without_a_driver_it_says_so(
    triton_installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)  # that of the server above
    models = tmp_path / "models"
    put(models, "one", BINARY)
    config = models / "one" / "config.pbtxt"
    config.write_text(config.read_text().replace("KIND_GPU", "KIND_MODEL"))
    with (
        server.start(triton_installation, models, log=tmp_path / "triton.log") as running,
        Session(running.grpc_url) as session,
        pytest.raises(PublicationError, match=r"this machine has no CUDA driver: libcuda\.so\.1"),
    ):
        session.load("one")


# ── memory of a GPU ───────────────────────────────────────────────────────────────────────────────────────────────

CPU, GPU = 0, 2
KIND_GPU = 2


class Asked(ctypes.Structure):
    """``Asked`` of gpu_requests.cpp."""

    _fields_ = [
        ("pieces", ctypes.POINTER(ctypes.c_void_p)),
        ("sizes", ctypes.POINTER(ctypes.c_uint64)),
        ("n_pieces", ctypes.c_uint32),
        ("in_memory", ctypes.c_int),
        ("in_device", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("features", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("out_memory", ctypes.c_int),
        ("out_device", ctypes.c_int64),
        ("error", ctypes.c_char * 256),
        ("sent", ctypes.c_int),
        ("released", ctypes.c_int),
        ("success", ctypes.c_int),
    ]


@dataclass(frozen=True)
class Wanted:
    """A request: which rows, in how many pieces, and where they and their answer are."""

    rows: Any
    pieces: int = 1
    given: int = GPU
    wanted: int = GPU
    given_device: int = 0
    wanted_device: int = 0


@dataclass
class Server:
    """The backend's instance of a model, with the driver that has the memory of the tests' own."""

    cuda: ctypes.CDLL
    triton: ctypes.CDLL
    instance: int
    width: int
    held: list[Any] = field(default_factory=list)

    def ask(self, *wanted: Wanted) -> list[Any]:
        """The answers, as the client finds them; or what it is told."""
        asked = (Asked * len(wanted))()
        outs = [self._put(one, request) for one, request in zip(asked, wanted, strict=True)]
        self.triton.ask(ctypes.c_void_p(self.instance), asked, len(wanted))
        assert [(one.sent, one.released) for one in asked] == [(1, 1)] * len(wanted)
        assert [not one.error for one in asked] == [bool(one.success) for one in asked]
        return [
            one.error.decode() or self._back(request, out)
            for one, request, out in zip(asked, wanted, outs, strict=True)
        ]

    def _put(self, asked: Asked, wanted: Wanted) -> int:
        parts = np.array_split(wanted.rows.ravel(), wanted.pieces)
        places = [self.memory(part.nbytes, wanted.given, wanted.given_device) for part in parts]
        for place, part in zip(places, parts, strict=True):
            self.copy(place, part.ctypes.data, part.nbytes, wanted.given)
        out = self.memory(max(len(wanted.rows) * self.width * 4, 4), wanted.wanted, wanted.wanted_device)
        pieces, sizes = (
            (ctypes.c_void_p * len(parts))(*places),
            (ctypes.c_uint64 * len(parts))(*(p.nbytes for p in parts)),
        )
        self.held += [pieces, sizes]
        asked.pieces, asked.sizes, asked.n_pieces = pieces, sizes, len(parts)
        asked.in_memory, asked.in_device, asked.out = wanted.given, wanted.given_device, out
        asked.rows, asked.features = wanted.rows.shape
        asked.out_memory, asked.out_device = wanted.wanted, wanted.wanted_device
        return out

    def _back(self, wanted: Wanted, out: int) -> Any:
        answer = np.empty((len(wanted.rows), self.width), np.float32)
        self.copy(answer.ctypes.data, out, answer.nbytes, wanted.wanted)
        return answer

    def memory(self, size: int, where: int, device: int) -> int:
        if where == CPU:
            self.held.append(np.empty(size, np.uint8))
            return int(self.held[-1].ctypes.data)
        assert self.cuda.cuCtxSetCurrent(ctypes.c_void_p(device + 1)) == 0
        address = ctypes.c_ulonglong()
        assert self.cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(max(size, 4))) == 0
        return address.value

    def copy(self, to: int, source: int, size: int, where: int) -> None:
        if where == CPU:
            ctypes.memmove(to, source, size)
            return
        stream = ctypes.c_void_p()
        assert self.cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
        given = (ctypes.c_ulonglong(to), ctypes.c_ulonglong(source), ctypes.c_size_t(size), stream)
        assert self.cuda.cuMemcpyAsync(*given) == 0


def served(driver: Path, triton: Path, version: Path, *, kind: int = KIND_GPU, device: int = 0) -> Server | str:
    """The instance; or why there is none."""
    from google.protobuf import json_format

    config = triton_config.parse((version.parent / "config.pbtxt").read_text())
    text = json_format.MessageToJson(config, preserving_proto_field_name=True)
    cuda = ctypes.CDLL(str(driver / "libcuda.so.1"))
    own = ctypes.CDLL(str(triton / "gpu_requests.so"), ctypes.RTLD_GLOBAL)
    library = kernel.triton_library()
    assert library is not None
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    error = ctypes.create_string_buffer(256)
    own.open_instance.restype = ctypes.c_void_p
    instance = own.open_instance(text.encode(), str(version.parent).encode(), kind, device, error)
    width = int(config.output[0].dims[0])
    return Server(cuda, own, instance, width) if instance else error.value.decode()


def opened(driver: str, requests: str, version: str, *, device: int = 0) -> Server:
    found = served(Path(driver), Path(requests), Path(version), device=device)
    assert isinstance(found, Server), found
    return found


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        fake_cuda.compiled(folder / "gpu_requests.so", "gpu_requests.cpp")

    return once(tmp_path_factory, "gpu-requests", make)


def apart(check: str, *arguments: object, **variables: str) -> None:
    """Run a check of this module in a process of its own: libraries that are there for good, and a driver's wishes."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_millwork_on_gpu as own; own.{check}(*sys.argv[1:])"
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": here, "FAKE_CUDA_GPUS": "2", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_rows_and_answers_stay_where_they_are(driver: Path, requests: Path, tmp_path: Path) -> None:
    """From and to everywhere: alone and together, whole and in pieces, on this GPU and on another."""
    apart("check_places", driver, requests, put(tmp_path, "several", SEVERAL))


def check_places(driver: str, requests: str, version: str) -> None:
    one = opened(driver, requests, version)
    rows = hard_rows(2, 700, FEATURES)
    must = expected(Path(version), rows)

    def right(*wanted: Wanted) -> None:
        at = 0
        for request, got in zip(wanted, one.ask(*wanted), strict=True):
            assert not isinstance(got, str), got
            assert got.tobytes() == must[at : at + len(request.rows)].tobytes()
            at += len(request.rows)

    for given in (CPU, GPU):
        for wanted in (CPU, GPU):
            for pieces in (1, 3):
                right(Wanted(rows[:64], pieces, given, wanted))
            right(Wanted(rows, 1, given, wanted), Wanted(rows[:0], 1, given, wanted))
    right(Wanted(rows[:64], given_device=1), Wanted(rows[64:70]))
    right(Wanted(rows[:9], wanted_device=1))
    right(
        Wanted(rows[:5], 1, CPU, GPU),
        Wanted(rows[5:6], 2, GPU, CPU),
        Wanted(rows[6:300], 1, CPU, CPU),
        Wanted(rows[300:410], 4),
        Wanted(rows[410:], 1, CPU, GPU),
    )
    wrong, good = one.ask(Wanted(rows[:4, :3].copy()), Wanted(rows[:6]))
    assert "isn't of the model's type and of shape" in wrong
    assert good.tobytes() == must[:6].tobytes()
    many = hard_rows(4, 1 << 10, FEATURES)
    for size in range(1, 300, 7):  # graphs of many sizes
        (got,) = one.ask(Wanted(many[:size], 1, CPU, CPU))
        assert got.tobytes() == expected(Path(version), many[:size]).tobytes()
    one.triton.close_instance(ctypes.c_void_p(one.instance))


def test_labels_on_a_gpu(driver: Path, requests: Path, tmp_path: Path) -> None:
    apart("check_labels", driver, requests, put(tmp_path, "label", SEVERAL, decision="largest"))


def check_labels(driver: str, requests: str, version: str) -> None:
    one = opened(driver, requests, version, device=1)
    rows = hard_rows(2, 40, FEATURES)
    must = expected(Path(version), rows, decision="largest")
    for got in one.ask(Wanted(rows, given_device=1, wanted_device=1), Wanted(rows, 2, CPU, CPU)):
        np.testing.assert_array_equal(got, must)


@pytest.mark.parametrize(
    "call", ["cuMemAlloc_v2", "cuMemHostAlloc", "cuGraphLaunch", "cuLaunchKernel", "cuMemcpyAsync"]
)
def test_a_call_that_fails_is_the_requests_error(call: str, driver: Path, requests: Path, tmp_path: Path) -> None:
    """And the next one, when there is memory again, is answered."""
    apart("check_refused", driver, requests, put(tmp_path, "several", SEVERAL), call)


def check_refused(driver: str, requests: str, version: str, call: str) -> None:
    libc = ctypes.CDLL(None)
    one = opened(driver, requests, version)
    grows = call in ("cuMemAlloc_v2", "cuMemHostAlloc")  # memory for small calls is there before they come
    rows = hard_rows(2, 4000 if grows else 9, FEATURES)
    given = Wanted(rows, 1, CPU, CPU)
    if call == "cuGraphLaunch":
        one.ask(given, given)  # recorded
        one.ask(given)
    assert libc.setenv(b"FAKE_CUDA_REFUSES", call.encode(), 1) == 0
    for told in one.ask(given, given):
        assert "the GPU failed: " in told
        assert "CUDA_ERROR_OUT_OF_MEMORY" in told
    assert libc.unsetenv(b"FAKE_CUDA_REFUSES") == 0
    for got in one.ask(given, given):
        assert got.tobytes() == expected(Path(version), rows).tobytes()


def test_a_graph_that_cant_be_made_is_no_error(driver: Path, requests: Path, tmp_path: Path) -> None:
    apart("check_without_graphs", driver, requests, put(tmp_path, "several", SEVERAL))


def check_without_graphs(driver: str, requests: str, version: str) -> None:
    one = opened(driver, requests, version)
    rows = hard_rows(2, 9, FEATURES)
    ctypes.CDLL(None).setenv(b"FAKE_CUDA_REFUSES", b"cuGraphInstantiateWithFlags", 1)
    for _ in range(3):
        (got,) = one.ask(Wanted(rows, 1, CPU, CPU))
        assert got.tobytes() == expected(Path(version), rows).tobytes()


def test_a_request_that_fails_fails_alone(driver: Path, requests: Path, tmp_path: Path) -> None:
    """One is larger than the GPU's memory, and the other, which came with it, isn't."""
    apart("check_alone", driver, requests, put(tmp_path, "several", SEVERAL))


def check_alone(driver: str, requests: str, version: str) -> None:
    one = opened(driver, requests, version)
    rows = hard_rows(2, 4000, FEATURES)
    must = expected(Path(version), rows)
    ctypes.CDLL(None).setenv(b"FAKE_CUDA_MOST", b"70000", 1)
    small, large = one.ask(Wanted(rows[:8], 1, CPU, CPU), Wanted(rows, 1, CPU, CPU))
    assert small.tobytes() == must[:8].tobytes()
    assert "the GPU failed: the GPU's memory: CUDA_ERROR_OUT_OF_MEMORY" in large


def test_an_instance_that_cant_be_there_says_why(driver: Path, requests: Path, tmp_path: Path) -> None:
    apart("check_instances", driver, requests, put(tmp_path, "several", SEVERAL))


def check_instances(driver: str, requests: str, version: str) -> None:
    libc, folder = ctypes.CDLL(None), Path(version)
    assert "GPU 5: " in str(served(Path(driver), Path(requests), folder, device=5))
    libc.setenv(b"FAKE_CUDA_REFUSES", b"cuMemAlloc_v2", 1)
    assert "the GPU's memory: CUDA_ERROR_OUT_OF_MEMORY" in str(served(Path(driver), Path(requests), folder))
    libc.unsetenv(b"FAKE_CUDA_REFUSES")
    config = folder.parent / "config.pbtxt"
    config.write_text(config.read_text().replace("forest.cuda", "expected.packed"))
    said = served(Path(driver), Path(requests), folder)
    assert "the forest is packed for CPUs: set instance_group.kind to KIND_CPU" in str(said)
