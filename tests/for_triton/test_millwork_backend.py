"""Our own Triton backend on the managed Triton: what it answers, how it batches and counts, and what it refuses."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc
from models.forests import hard_rows, program_of, random_forest
from tritonclient.utils import InferenceServerException

from millwork.compile.backends.native import cpu_file
from millwork.compile.runners.native_runner import Runner
from millwork.errors import PublicationError
from millwork.passes.categories import Categories, Code
from millwork.triton import server
from millwork.triton.client import Session
from millwork.triton.config import ConfigRequest, render
from millwork.triton.settings import Settings
from millwork.triton_releases import find
from millwork.values import OutputContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millwork.passes.program import Program
    from millwork.triton.install import Installation
    from millwork.triton.server import RunningServer

pytestmark = pytest.mark.triton

FEATURES = 5
WORDS = (("red", "green", "blå"), ("", "a", "b" * 300))


def numeric() -> Program:
    return program_of(random_forest(3, trees=40, depth=7, outputs=3))


def binary() -> Program:
    return program_of(random_forest(5, trees=30, depth=5), "binary")


def categorical(*, integer: bool) -> Program:
    """Trees on two numbers, and on the codes of two categories of the client's own."""
    forest = random_forest(7, trees=20, depth=5, features=4, categorical=2)
    words: Any = ((3, -7, 1 << 40), (0, 1, 2)) if integer else WORDS
    codes = tuple(Code(feature, np.array([0, 1, 2, 70], np.float32)) for feature in (0, 1))
    return replace(
        program_of(forest), n_columns=2, categories=Categories(vocabularies=words, integer=integer, codes=codes)
    )


def put(repository: Path, name: str, program: Program, version: int = 1, **changed: Any) -> Path:
    """The program as a version of a model, served by our backend."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    path = folder / "forest.packed"
    cpu_file.write(program, path)
    given: dict[str, Any] = {"settings": Settings(instances=1, threads=1, batching=True, max_batch=4096)} | changed
    labels = tuple(map(str, range(given.pop("width", program.n_answers))))
    categories = program.categories
    request = ConfigRequest(
        name=name,
        triton_backend="millwork",
        release=find("24.10"),
        model_file="forest.packed",
        model_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        features=program.n_columns,
        categories=0 if categories is None else len(categories.vocabularies),
        category_dtype="int64" if categories is not None and categories.integer else "string",
        output=OutputContract(kind="value", task="regression", labels=labels),
        **given,
    )
    (repository / name / "config.pbtxt").write_text(render(request, version))
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "numeric", numeric())
    put(folder, "text", categorical(integer=False))
    put(folder, "integer", categorical(integer=True))
    put(folder, "label", binary(), width=1, parameters={"decision": "second", "cut": "0.4"})
    put(folder, "largest", numeric(), width=1, parameters={"decision": "largest"})
    put(folder, "three", numeric(), settings=Settings(instances=3, threads=2, batching=True))
    waiting = Settings(instances=1, threads=1, batching=True, delay_us=200_000, max_batch=4096)
    put(folder, "waiting", numeric(), settings=waiting)
    longer = Settings(instances=1, threads=1, batching=True, delay_us=1_000_000, max_batch=4096)
    put(folder, "waiting-text", categorical(integer=False), settings=longer)
    return folder


@pytest.fixture(scope="module")
def running(
    triton_installation: Installation, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    with server.start(triton_installation, repository, log=tmp_path_factory.mktemp("log") / "triton.log") as one:
        yield one
        assert psutil.pid_exists(one.pid), "the server died of a test"


@pytest.fixture
def session(running: RunningServer) -> Iterator[Session]:
    with Session(running.grpc_url) as one:
        yield one


@pytest.fixture
def client(running: RunningServer) -> Iterator[Any]:
    with contextlib.closing(tritonclient.grpc.InferenceServerClient(running.grpc_url.removeprefix("grpc://"))) as one:
        yield one


def expected(repository: Path, name: str, rows: Any, categories: Any = None, **parameters: str) -> Any:
    return Runner(repository / name / "1" / "forest.packed", parameters, threads=1).predict(rows, categories)


def statistics(client: Any, name: str) -> Any:
    return client.get_inference_statistics(name, as_json=False).model_stats[0]


def words(n: int, *, integer: bool) -> Any:
    rng = np.random.default_rng(n)
    if integer:
        return rng.choice(np.array([3, -7, 1 << 40, 0, 1, 2, 99]), (n, 2))
    return rng.choice(np.array(["red", "green", "blå", "", "a", "b" * 300, "never seen"]), (n, 2))


# ── what it answers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("n", [1, 3, 64, 255, 256, 1025, 4096])
def test_numbers_in_answers_out_to_the_bit(session: Session, repository: Path, n: int) -> None:
    session.load("numeric")
    rows = hard_rows(n, n, FEATURES)
    assert session.infer("numeric", rows).tobytes() == expected(repository, "numeric", rows).tobytes()


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("n", [1, 65, 700])
def test_categories_in_answers_out(session: Session, repository: Path, n: int, integer: bool) -> None:
    name = "integer" if integer else "text"
    session.load(name)
    rows, categories = hard_rows(n, n, 2), words(n, integer=integer)
    got = session.infer(name, rows, categories=categories)
    assert got.tobytes() == expected(repository, name, rows, categories).tobytes()
    assert len(np.unique(got)) > 1 or n == 1


@pytest.mark.parametrize(
    ("name", "parameters"), [("label", {"decision": "second", "cut": "0.4"}), ("largest", {"decision": "largest"})]
)
def test_labels(session: Session, repository: Path, name: str, parameters: dict[str, str]) -> None:
    session.load(name)
    rows = hard_rows(1, 500, FEATURES)
    got = session.infer(name, rows)
    assert got.shape == (500, 1)
    assert len(np.unique(got)) > 1
    np.testing.assert_array_equal(got, expected(repository, name, rows, **parameters))


def test_memory_of_the_clients_that_isnt_aligned(session: Session, client: Any, repository: Path) -> None:
    """System shared memory, two bytes off: what can't be read as floats where it lies is copied."""
    from tritonclient.utils import shared_memory

    session.load("numeric")
    rows = hard_rows(9, 300, FEATURES)
    region = shared_memory.create_shared_memory_region("millwork_test", "/millwork_test", rows.nbytes + 2)
    try:
        shared_memory.set_shared_memory_region(region, [np.frombuffer(b"xx" + rows.tobytes(), np.uint8)])
        client.register_system_shared_memory("millwork_test", "/millwork_test", rows.nbytes + 2)
        given = tritonclient.grpc.InferInput("input__0", list(rows.shape), "FP32")
        given.set_shared_memory("millwork_test", rows.nbytes, offset=2)
        got = client.infer("numeric", [given]).as_numpy("output__0")
        client.unregister_system_shared_memory("millwork_test")
    finally:
        shared_memory.destroy_shared_memory_region(region)
    assert got.tobytes() == expected(repository, "numeric", rows).tobytes()


# ── batches, instances, statistics ────────────────────────────────────────────────────────────────────────────────


def test_requests_of_a_batch_become_one_call_and_are_counted(session: Session, client: Any, repository: Path) -> None:
    session.load("waiting")
    before = statistics(client, "waiting")
    batches = [hard_rows(i, n, FEATURES) for i, n in enumerate([1, 2, 64, 300, 1, 7, 1000, 63])]
    with ThreadPoolExecutor(len(batches)) as pool:
        answers = list(pool.map(lambda rows: session.infer("waiting", rows), batches))
    for rows, answer in zip(batches, answers, strict=True):
        assert answer.tobytes() == expected(repository, "waiting", rows).tobytes()
    after = statistics(client, "waiting")
    rows_in_all = sum(map(len, batches))
    assert after.inference_count - before.inference_count == rows_in_all
    assert 1 <= after.execution_count - before.execution_count < len(batches)
    assert after.inference_stats.success.count - before.inference_stats.success.count == len(batches)
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert any(one.batch_size > 300 for one in after.batch_stats)


def test_several_instances_under_load_that_is_loaded_and_unloaded_meanwhile(
    session: Session, client: Any, repository: Path, running: RunningServer
) -> None:
    """Every answer that comes is right, whatever is loaded when; another model is never touched by it."""
    session.load("three")
    session.load("numeric")
    wrong: list[str] = []
    answered = dict.fromkeys(("three", "numeric"), 0)
    stop = threading.Event()

    def ask(seed: int, name: str) -> None:
        rows = hard_rows(seed, 1 + 37 * seed % 200, FEATURES)
        must = expected(repository, name, rows).tobytes()
        with Session(running.grpc_url) as own:
            while not stop.is_set():
                try:
                    if own.infer(name, rows).tobytes() != must:
                        wrong.append(name)
                    answered[name] += 1
                except PublicationError as error:  # while it is unloaded
                    if name == "numeric" or not re.search("not ready|not found|no available versions", error.message):
                        wrong.append(error.message)

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, seed, "numeric" if seed % 3 == 0 else "three") for seed in range(6)]
        for _ in range(12):
            session.unload("three")
            session.load("three")
        stop.set()
        for one in asking:
            one.result()
    assert wrong == [], wrong[:3]
    assert min(answered.values()) > 20


def test_cancelled_requests_end_and_leave_the_model_as_it_was(session: Session, client: Any, repository: Path) -> None:
    session.load("waiting")
    rows = hard_rows(2, 5, FEATURES)
    given = tritonclient.grpc.InferInput("input__0", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows)
    ended: list[Any] = []
    done = threading.Semaphore(0)

    def heard(result: Any, error: Any) -> None:
        ended.append(error)
        done.release()

    calls = [client.async_infer("waiting", [given], heard) for _ in range(20)]
    for call in calls[::2]:
        call.cancel()
    for _ in calls:
        assert done.acquire(timeout=30)
    assert sum(error is not None and "CANCELLED" in str(error.status()) for error in ended) == 10
    assert sum(error is None for error in ended) == 10
    assert session.infer("waiting", rows).tobytes() == expected(repository, "waiting", rows).tobytes()


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [([4, 6], "FP32", "unexpected shape"), ([4], "FP32", "unexpected shape"), ([4, 5], "INT64", "data-type")],
)
def test_wrong_inputs_are_the_clients_error(
    session: Session, client: Any, repository: Path, shape: list[int], dtype: str, says: str
) -> None:
    session.load("numeric")
    given = tritonclient.grpc.InferInput("input__0", shape, dtype)
    given.set_data_from_numpy(np.zeros(shape, np.float32 if dtype == "FP32" else np.int64))
    with pytest.raises(InferenceServerException, match=says):
        client.infer("numeric", [given])
    rows = hard_rows(1, 4, FEATURES)
    assert session.infer("numeric", rows).tobytes() == expected(repository, "numeric", rows).tobytes()


def raw(running: RunningServer, name: str, rows: int, texts: bytes) -> dict[str, Any]:
    """A request by HTTP whose strings are the given bytes, well-formed or not."""
    numbers = np.zeros((rows, 2), np.float32).tobytes()
    inputs = [
        {"name": name, "shape": [rows, 2], "datatype": kind, "parameters": {"binary_data_size": size}}
        for name, kind, size in (("input__0", "FP32", len(numbers)), ("input__1", "BYTES", len(texts)))
    ]
    head = json.dumps({"inputs": inputs, "outputs": [{"name": "output__0"}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.ports.http}/v2/models/{name}/infer",
        head + numbers + texts,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 (a server of this test's)
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))


@pytest.mark.parametrize(
    "texts",
    [b"", b"\x01\0\0\0a", b"\xff\xff\xff\xff" * 2, b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c"],
    ids=lambda t: f"{len(t)}",
)
def test_strings_that_are_malformed_fail_alone(
    session: Session, running: RunningServer, repository: Path, texts: bytes
) -> None:
    session.load("text")
    assert "error" in raw(running, "text", 1, texts)
    good = b"\x03\0\0\0red\x01\0\0\0a"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: raw(running, "text", 1, texts if i % 4 == 0 else good), range(32)))
    must = expected(repository, "text", np.zeros((1, 2), np.float32), np.array([["red", "a"]]))
    for i, answer in enumerate(answers):
        if i % 4 == 0:
            assert "error" in answer
        else:
            np.testing.assert_array_equal(np.float32(answer["outputs"][0]["data"]), must.ravel())


def strings(*words: str) -> bytes:
    return b"".join(len(word.encode()).to_bytes(4, "little") + word.encode() for word in words)


def test_a_request_that_shares_a_batch_with_malformed_ones_has_its_own_answer(
    session: Session, client: Any, running: RunningServer, repository: Path
) -> None:
    """The first one's last string says that it goes on through the second and into a word of the third, which holds
    whole strings: by then all of them have as many strings as rows."""
    session.load("waiting-text")
    good, inside = strings("green", ""), strings("red", "a", "red").decode()
    malformed = strings("red") + (len(good) + 4).to_bytes(4, "little")
    before = statistics(client, "waiting-text").execution_count
    with ThreadPoolExecutor(3) as pool:
        asked = []
        for texts in (malformed, good, strings(inside, "a")):
            asked.append(pool.submit(raw, running, "waiting-text", 1, texts))
            time.sleep(0.02)  # Triton's batches are in the order of arrival
        answers = [one.result() for one in asked]
    assert statistics(client, "waiting-text").execution_count - before == 1
    assert "isn't 2 strings a row" in answers[0]["error"]
    words = np.array([["green", ""], [inside, "a"]])
    must = expected(repository, "waiting-text", np.zeros((2, 2), np.float32), words)
    np.testing.assert_array_equal([np.float32(one["outputs"][0]["data"]) for one in answers[1:]], must)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("truncated", lambda blob: blob[:-9], "shorter or longer than it says"),
        ("flipped", lambda blob: blob[:200] + bytes([blob[200] ^ 1]) + blob[201:], "has changed since it was written"),
        ("empty", lambda _: b"", "can't be opened or read"),
        ("foreign", lambda blob: b"MILLWORX" + blob[8:], "not a packed forest"),
    ],
)
def test_a_damaged_file_isnt_loaded_and_the_old_version_serves_on(
    session: Session, repository: Path, name: str, change: Any, says: str
) -> None:
    put(repository, name, numeric())
    session.load(name)
    rows = hard_rows(1, 4, FEATURES)
    must = expected(repository, name, rows).tobytes()
    blob = (repository / name / "1" / "forest.packed").read_bytes()
    (repository / name / "2").mkdir()
    (repository / name / "2" / "forest.packed").write_bytes(change(blob))
    config = repository / name / "config.pbtxt"
    config.write_text(config.read_text().replace("versions: 1", "versions: 2"))
    with pytest.raises(PublicationError, match=says):
        session.load(name)
    assert session.infer(name, rows).tobytes() == must


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("dims: 5", "dims: 4", r"input__0 is not TYPE_FP32 \[5\]"),
        ("dims: 3", "dims: 2", r"output__0 is not TYPE_FP32 \[3\]"),
        ('name: "input__0"', 'name: "rows"', "the configuration lacks input__0"),
        ('string_value: "1"', 'string_value: "many"', "threads is 'many'"),
        ("max_batch_size: 4096", "max_batch_size: 0", "max_batch_size must be 1 or more"),
    ],
)
def test_a_configuration_that_doesnt_fit_the_file_isnt_loaded(
    session: Session, repository: Path, before: str, after: str, says: str
) -> None:
    text = (repository / "numeric" / "config.pbtxt").read_text()
    assert before in text
    name = "unfit"
    if not (repository / name).exists():
        put(repository, name, numeric())
    (repository / name / "config.pbtxt").write_text(text.replace('"numeric"', f'"{name}"').replace(before, after, 1))
    with pytest.raises(PublicationError, match=says):
        session.load(name)
