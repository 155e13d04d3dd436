"""50 publishers in 5 rounds into one model, in a folder and on a real S3 server, watched all the time: no version lost
or doubled, and what serves never goes back.

    python benchmarks/publishers.py [--publishers 50] [--rounds 5] [--where local,s3]

Each publisher is a process of its own. The server is the one of the tests (SeaweedFS, installed into the user's cache).
Results: benchmarks/results/publishers.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models import s3  # noqa: E402 -- the tests' server

from millwork.artifacts.bundle import Bundle, seal  # noqa: E402
from millwork.artifacts.repository import at  # noqa: E402
from millwork.artifacts.repository.object_store import ObjectRepository  # noqa: E402
from millwork.artifacts.repository.object_store.address import parse  # noqa: E402
from millwork.storage import wire  # noqa: E402
from millwork.triton import config as triton_config  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "publishers.json"

CODE = (
    "import sys\nfrom millwork.storage import wire\nfrom millwork.artifacts.bundle import Bundle\n"
    "from millwork.artifacts.repository import at\n"
    "print(at(sys.argv[1]).publish(wire.decode(sys.stdin.buffer.read(), Bundle)).version)\n"
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--publishers", type=int, default=50)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--where", default="local,s3")
    words = asked.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for where in words.where.split(","):
        with tempfile.TemporaryDirectory() as folder, place(where, Path(folder)) as url:
            found[where] = measured(Path(folder), url, words.publishers, words.rounds)
        print(f"{where}: {found[where]}")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


@contextlib.contextmanager
def place(where: str, folder: Path) -> Iterator[str]:
    """The URL of a repository that holds nothing yet."""
    if where == "local":
        yield str(folder / "repository" / "models")
        return
    (folder / "server").mkdir()
    with s3.served(folder / "server") as port:
        os.environ.update(s3.variables(port))
        yield f"s3://{s3.BUCKET}/publishers/models"


def measured(folder: Path, url: str, publishers: int, rounds: int) -> dict[str, float]:
    """The figures of one run; AssertionError where a version is lost or doubled, or what serves goes back."""
    bundles = [made(folder / str(number), number) for number in range(publishers)]
    seen, over = [0], threading.Event()
    with ThreadPoolExecutor(1) as threads:
        watcher = threads.submit(watch, url, seen, over)
        began, got = time.monotonic(), []
        try:
            share = -(-publishers // rounds)
            for first in range(0, publishers, share):
                got += together(url, bundles[first : first + share])
        finally:
            took = time.monotonic() - began
            over.set()
        watcher.result()  # raises what the watcher met
    entries = at(url).versions("m")
    lost = publishers - len({entry.manifest.files for entry in entries if entry.manifest})
    back = sum(later < earlier for earlier, later in itertools.pairwise(seen))
    assert len(set(got)) == publishers, got
    assert [entry.version for entry in entries] == sorted(got)
    assert {entry.manifest.files for entry in entries if entry.manifest} == {b.manifest.files for b in bundles}
    assert not back, seen
    assert at(url).find("m") == max(got)
    return {
        "publishers": publishers,
        "rounds": rounds,
        "versions": len(entries),
        "highest": max(got),
        "lost": lost,
        "doubled": len(got) - len(set(got)),
        "looks": len(seen) - 1,
        "went_back": back,
        "seconds": round(took, 1),
    }


def made(folder: Path, number: int) -> Bundle:
    from artifacts.conftest import OUTPUT, manifest_of

    from millwork.triton_releases import find

    folder.mkdir()
    (folder / "model.onnx").write_bytes(f"model {number}".encode())
    (folder / "golden.npz").write_bytes(b"golden rows")
    request = triton_config.ConfigRequest(
        name="m",
        triton_backend="onnxruntime",
        release=find("24.10"),
        model_file="model.onnx",
        model_sha256="ab",
        features=2,
        output=OUTPUT,
    )
    return seal(folder, manifest_of("m"), triton_config.render(request))


def together(url: str, bundles: list[Bundle]) -> list[int]:
    """The versions that publishers got who were let go at the same moment."""
    running = [
        subprocess.Popen([sys.executable, "-c", CODE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in bundles
    ]
    for process, bundle in zip(running, bundles, strict=True):
        if process.stdin is not None:
            process.stdin.write(wire.encode(bundle))
            process.stdin.close()
            process.stdin = None
    return [int(process.communicate()[0]) for process in running]


def watch(url: str, seen: list[int], over: threading.Event) -> None:
    """The version that serves, by config.pbtxt, as often as it can be read."""
    while not over.is_set():
        content = served_config(url)
        if content:
            seen.append(triton_config.parse(content).version_policy.specific.versions[0])


def served_config(url: str) -> str:
    """config.pbtxt as it is now; empty where there is none yet."""
    if "://" not in url:
        path = Path(url) / "m" / "config.pbtxt"
        return path.read_text() if path.exists() else ""
    repository = ObjectRepository(parse(url))
    found = repository.store.read(f"{repository.address.prefix}/m/config.pbtxt")
    return "" if found is None else found.content.decode()


if __name__ == "__main__":
    main()
