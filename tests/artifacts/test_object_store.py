"""Publishing into a real S3 server, also by many at once, through faults, and killed at each request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from models import s3
from models.jobs import millwork, refused

from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import at
from millwork.artifacts.repository.object_store import ObjectRepository, records
from millwork.artifacts.repository.object_store import store as stores
from millwork.artifacts.repository.object_store.address import Place, parse
from millwork.artifacts.repository.object_store.store import Patience
from millwork.artifacts.repository.server_notes import ServerNotes
from millwork.errors import ParityError, PublicationError, UsageError
from millwork.storage import wire
from millwork.triton import config as triton_config

QUICK = Patience(tries=6, first_wait_s=0.01, longest_wait_s=0.05, answer_s=10.0)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3.served(tmp_path_factory.mktemp("seaweedfs")) as port:
        yield port


@pytest.fixture
def url(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository of each test's own, the environment set for its server."""
    for name, value in s3.variables(port).items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/{tmp_path.name}/models"


def quick(url: str, grace: timedelta = timedelta(0)) -> ObjectRepository:
    return ObjectRepository(parse(url), QUICK, grace)


def require_sound(repository: ObjectRepository, tmp_path: Path) -> list[int]:
    """What config.pbtxt names is whole, and nothing is there but what was published; the versions."""
    there = {entry.version: entry for entry in repository.versions("m")}
    model = f"{repository.address.prefix}/m"
    keys = [key.removeprefix(f"{model}/") for key in repository.store.sizes(model)]
    assert {key.partition("/")[0] for key in keys} == ({"config.pbtxt", *map(str, there)} if there else set())
    for number, entry in there.items():
        folder = repository.files("m", number, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}")
        assert entry.manifest is not None
        assert manifests.verify_files(folder) == []
    if there:
        assert triton_config.served(repository.config("m"), list(there)) == (repository.find("m"),)
    return sorted(there)


def test_there_and_back(url: str, make_bundle, tmp_path: Path) -> None:
    repository = at(url)
    asked: list[int] = []
    bundle = make_bundle(b"1")
    published = repository.publish(bundle, verify=asked.append)
    assert (published.version, published.verified, published.repository) == (1, True, url)
    assert published.manifest_sha256 == bundle.manifest_sha256
    assert repository.publish(make_bundle(b"1", created="2031-01-01"), verify=asked.append).version == 1
    assert [repository.publish(make_bundle(content)).version for content in (b"2", b"3")] == [2, 3]
    for to, expected in ((None, 2), (None, 1), (3, 3), (1, 1)):
        assert repository.rollback("m", to, verify=asked.append).version == expected
        assert repository.find("m") == expected
        own = repository.files("m", expected, tmp_path / "x") / "config.pbtxt"
        assert triton_config.unstamped(repository.config("m")) == own.read_text()
    assert repository.publish(make_bundle(b"4")).version == 4
    assert repository.rollback("m").version == 1, "1 served before 4"
    assert repository.models() == ["m"]
    assert asked == [1, 1, 2, 1, 3, 1]
    assert require_sound(quick(url), tmp_path) == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="there is no version 9 that can serve"):
        repository.rollback("m", 9)
    with pytest.raises(UsageError, match="no model called 'other'"):
        repository.find("other")


def test_what_is_known_of_the_server_is_noted_beside_the_repository(url: str) -> None:
    repository = quick(url)
    assert repository.server_notes() is None
    for known in (True, False):
        repository.keep_server_notes(ServerNotes(millwork_backend=known))
        assert quick(url).server_notes() == ServerNotes(millwork_backend=known)
    assert repository.models() == []


def test_a_version_that_fails_is_taken_back(url: str, make_bundle, tmp_path: Path) -> None:
    repository = quick(url)
    told: list[int | None] = []

    def refuse(version: int) -> None:
        assert repository.find("m") == version
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong; no version of the model serves"):
        repository.publish(make_bundle(), verify=refuse, restored=told.append)
    assert repository.store.sizes(f"{repository.address.prefix}/m") == {}
    assert repository.publish(make_bundle()).version == 2, "a number is given once"
    with pytest.raises(PublicationError, match="wrong; version 2 still serves"):
        repository.publish(make_bundle(b"new"), verify=refuse, restored=told.append)
    assert repository.publish(make_bundle(b"newer")).version == 4
    with pytest.raises(PublicationError, match="rollback to version 2 failed: wrong; version 4 still serves"):
        repository.rollback("m", verify=refuse, restored=told.append)
    assert told == [None, 2, 4]
    assert require_sound(repository, tmp_path) == [2, 4]


def test_a_damaged_version_is_not_gone_back_to(url: str, make_bundle, tmp_path: Path) -> None:
    repository = quick(url)
    repository.publish(make_bundle(b"1"))
    repository.publish(make_bundle(b"2"))
    (tmp_path / "other").write_bytes(b"damaged")
    repository.store.put(f"{repository.address.prefix}/m/1/model.onnx", tmp_path / "other")
    with pytest.raises(
        PublicationError, match=r"1 can't serve again: model\.onnx has 7 bytes, the manifest says 1.*version 2 still"
    ):
        repository.rollback("m")
    said = millwork("verify", "--repository", url, "--name", "m", "--version", "1")
    refused(said, 3, "model.onnx has 7 bytes, the manifest says 1")


def test_someone_elses_model_is_pinned_and_comes_back(url: str, make_bundle, tmp_path: Path) -> None:
    repository = quick(url)
    for name, content in (("4/model.py", "pass"), ("config.pbtxt", 'name: "m"\nbackend: "python"\n')):
        (tmp_path / "file").write_text(content)
        repository.store.put(f"{repository.address.prefix}/m/{name}", tmp_path / "file")
    assert repository.publish(make_bundle()).version == 5
    assert repository.rollback("m").version == 4
    assert 'backend: "python"' in repository.config("m")


def test_someone_elses_model_without_a_configuration_is_given_one(url: str, make_bundle, tmp_path: Path) -> None:
    """A server completes it, and takes the latest: while ours is uploaded that would be ours."""
    repository = quick(url)
    (tmp_path / "file").write_bytes(b"theirs")
    repository.store.put(f"{repository.address.prefix}/m/3/model.onnx", tmp_path / "file")

    def refuse(_: int) -> None:
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong; version 3 still serves"):
        repository.publish(make_bundle(), verify=refuse)
    assert repository.publish(make_bundle()).version == 5
    assert repository.rollback("m").version == 3
    assert triton_config.served(repository.config("m"), [3, 5]) == (3,)


@pytest.mark.parametrize("fails", [False, True])
def test_two_of_the_same_content_at_once_are_one_version(fails: bool, url: str, make_bundle, tmp_path: Path) -> None:
    """The second takes the first for dead while that verifies, and finishes its version."""
    bundle = make_bundle(b"same")
    quick(url).publish(make_bundle(b"before"))
    second: list[int] = []

    def verify(_: int) -> None:
        second.append(quick(url).publish(bundle, verify=lambda _: None).version)
        if fails:
            raise ParityError("no memory")

    if fails:
        with pytest.raises(PublicationError, match=r"no memory; but another publisher .* version 2 still serves"):
            quick(url).publish(bundle, verify=verify)
    else:
        assert quick(url).publish(bundle, verify=verify).version == 2
    assert second == [2]
    assert quick(url).find("m") == 2
    assert require_sound(quick(url), tmp_path) == [1, 2]


def test_only_what_was_finished_is_gone_back_to(url: str, make_bundle, tmp_path: Path) -> None:
    repository = quick(url)
    repository.publish(make_bundle(b"1"))
    place = Place(repository.address, "m")
    held = records.reserve(repository.store, place, 7, "digest", "sha")
    assert held is not None
    (tmp_path / "file").write_text(repository.config("m").replace("versions: 1", "versions: 7"))
    repository.store.put(f"{place.version(7)}/config.pbtxt", tmp_path / "file")
    with pytest.raises(UsageError, match="there is no version 7 that can serve"):
        repository.rollback("m", 7)
    assert repository.find("m") == 1


def test_what_is_to_be_signed_is_published_again(url: str, make_bundle, tmp_path: Path) -> None:
    repository = quick(url)

    def sign(folder: Path) -> None:
        (folder / manifests.SIGNATURE_FILE).write_text("signed")

    assert repository.publish(make_bundle(b"1")).version == 1
    assert [repository.publish(make_bundle(b"1"), sign=sign).version for _ in range(2)] == [2, 2]
    assert (repository.files("m", 2, tmp_path / "copy") / manifests.SIGNATURE_FILE).is_file()
    assert repository.publish(make_bundle(b"1")).version == 2


def test_many_at_once_each_get_a_version_and_it_only_goes_up(url: str, make_bundle, tmp_path: Path) -> None:
    bundles = [make_bundle(f"model {number}".encode()) for number in range(10)]
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            found = quick(url).store.read(f"{parse(url).prefix}/m/config.pbtxt")
            if found is not None:
                seen.append(triton_config.parse(found.content.decode()).version_policy.specific.versions[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        published: list[int] = []
        for share in (bundles[:5], bundles[5:]):
            with ThreadPoolExecutor(5) as publishers:
                found = publishers.map(lambda bundle: quick(url, timedelta(hours=1)).publish(bundle).version, share)
                published += list(found)
    finally:
        over.set()
        watcher.join()
    assert len(set(published)) == 10
    assert seen == sorted(seen)
    repository = quick(url)
    assert repository.find("m") == max(published)
    assert require_sound(repository, tmp_path) == sorted(published)
    files = {entry.manifest.files for entry in repository.versions("m") if entry.manifest is not None}
    assert files == {bundle.manifest.files for bundle in bundles}


@pytest.mark.parametrize("fault", s3.FAULTS)
def test_a_fault_at_any_request_is_one_commit_or_none(
    url: str, port: int, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Requests of a publication meet the fault, which a publisher bears: its version serves, once. Each fault begins at
    another request, so that together they meet all of them."""
    first, second = make_bundle(b"first"), make_bundle(b"second")
    with s3.proxied(port) as proxy:
        for name, value in s3.variables(proxy.port).items():
            monkeypatch.setenv(name, value)
        index, last = s3.FAULTS.index(fault) % 4, False
        while not last:
            repository = quick(f"{url}-{index}")
            proxy.arm(-1, "")
            repository.publish(first)
            proxy.arm(index, fault)
            published = repository.publish(second)
            last = proxy.seen <= index
            proxy.arm(-1, "")
            assert published.version == repository.find("m"), proxy.log
            assert len(repository.versions("m")) == 2, f"request {index}: {proxy.log}"
            index += 4
        assert index > 10


def test_killed_at_any_request_the_next_publication_succeeds_and_sweeps(
    url: str, port: int, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = make_bundle(b"first"), make_bundle(b"second"), make_bundle(b"third")
    with s3.proxied(port) as proxy:
        for name, value in s3.variables(proxy.port).items():
            monkeypatch.setenv(name, value)
        index, ended = 0, -signal.SIGKILL
        while ended == -signal.SIGKILL:
            repository = quick(f"{url}-{index}")
            repository.publish(first)
            ended = killed(repository.url, second, proxy, index)
            entry = repository.find("m")
            assert entry in (1, 2)
            assert repository.publish(third).version >= 2
            shown = require_sound(repository, tmp_path)
            assert shown[-1] == repository.find("m")
            left = records.read_all(repository.store, Place(address=repository.address, name="m"))
            assert shown == [number for number in sorted(left) if left[number].state == "finished"], "the rest is gone"
            index += 7
        assert index > 8


def killed(url: str, bundle: object, proxy: s3.Proxy, index: int) -> int:
    """The exit status of a publisher that is killed when its request ``index`` comes."""
    code = (
        "import sys\nfrom millwork.storage import wire\nfrom millwork.artifacts.bundle import Bundle\n"
        "from millwork.artifacts.repository import at\n"
        "at(sys.argv[1]).publish(wire.decode(sys.stdin.buffer.read(), Bundle))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE)
    proxy.arm(-1, "")
    proxy.before = lambda number: os.kill(process.pid, signal.SIGKILL) if number == index else None
    try:
        process.communicate(wire.encode(bundle))
    finally:
        proxy.before = lambda _: None
    return process.returncode


# ── what a user may get wrong ─────────────────────────────────────────────────────────────────────────────


def test_what_is_wrong_is_said(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = tmp_path / "rows.npy"
    np.save(rows, np.zeros((1, 2), np.float32))
    ask = ("predict", "--name", "m", "--input", rows, "--output", tmp_path / "a.npy", "--repository")
    refused(millwork(*ask, url), 2, "no model called 'm' in this repository")
    refused(millwork(*ask, "s3://no-such-bucket-here/models"), 7, "there is no bucket 'no-such-bucket-here'")
    refused(millwork(*ask, "s3://shop"), 2, "a bucket's root can't be a repository")
    refused(millwork(*ask, "ftp://host/models"), 2, "this kind of repository isn't supported")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused(millwork(*ask, url), 7, "the credentials aren't accepted", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "RequestExpired"])
def test_a_wrong_clock_is_not_called_wrong_credentials(code: str) -> None:
    kind = type("PermissionDeniedError", (Exception,), {})
    answer = f"status code: 403: <Error><Code>{code}</Code><Message>The difference is too large.</Message></Error>"
    reason, hint = stores.explained(kind(answer), parse("s3://shop/models"))
    assert reason == f"this machine's clock is wrong: the store refuses the time of the request ({code})"
    assert "Set this machine's clock" in hint


# ── Google's and Azure's: the protocol itself, on obstore's store in memory ───────────────────────────────


@pytest.mark.parametrize("url", ["gs://bucket/models", "az://container/a/models"])
def test_the_protocol_on_a_store_in_memory(
    url: str, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from obstore.store import MemoryStore

    memory = MemoryStore()
    monkeypatch.setattr(stores, "connect", lambda *_: memory)
    repository = quick(url)
    assert [repository.publish(make_bundle(content)).version for content in (b"1", b"2")] == [1, 2]
    assert repository.rollback("m").version == 1
    assert [entry.served for entry in repository.versions("m")] == [True, False]
    assert repository.for_triton == "", "the managed Triton is given a copy"
