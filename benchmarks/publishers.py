"""50 publishers in 5 rounds into one model on a real S3 server, watched all the time: no version lost or
doubled, and what serves never goes back.

    python benchmarks/publishers.py [--publishers 50] [--rounds 5]

Each publisher is a process of its own. The server is the one of the tests (SeaweedFS, installed into the user's cache).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models import s3  # noqa: E402 -- the tests' server

from millwork import wire  # noqa: E402
from millwork.artifacts import triton_config  # noqa: E402
from millwork.artifacts.bundle import Bundle, seal  # noqa: E402
from millwork.artifacts.repository import at  # noqa: E402
from millwork.artifacts.repository.object_store import ObjectRepository  # noqa: E402
from millwork.artifacts.repository.object_store.address import parse  # noqa: E402

CODE = (
    "import sys\nfrom millwork import wire\nfrom millwork.artifacts.bundle import Bundle\n"
    "from millwork.artifacts.repository import at\n"
    "print(at(sys.argv[1]).publish(wire.decode(sys.stdin.buffer.read(), Bundle)).version)\n"
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--publishers", type=int, default=50)
    asked.add_argument("--rounds", type=int, default=5)
    words = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "server").mkdir()
        with s3.served(Path(folder) / "server") as port:
            os.environ.update(s3.variables(port))
            measured(Path(folder), words.publishers, words.rounds)


def measured(folder: Path, publishers: int, rounds: int) -> None:
    url = f"s3://{s3.BUCKET}/publishers/models"
    bundles = [made(folder / str(number), number) for number in range(publishers)]
    seen, over = [0], threading.Event()
    watcher = threading.Thread(target=watch, args=(url, seen, over))
    watcher.start()
    began, got = time.monotonic(), []
    share = -(-publishers // rounds)
    for first in range(0, publishers, share):
        got += together(url, bundles[first : first + share])
    took = time.monotonic() - began
    over.set()
    watcher.join()
    entries = at(url).versions("m")
    assert len(set(got)) == publishers, got
    assert [entry.version for entry in entries] == sorted(got)
    assert {entry.manifest.files for entry in entries if entry.manifest} == {b.manifest.files for b in bundles}
    assert seen == sorted(seen)
    assert at(url).find("m") == max(got)
    print(
        f"{publishers} publishers in {rounds} rounds: {len(got)} versions, none lost or doubled, "
        f"the highest {max(got)}; {len(seen) - 1:,} looks, never back; {took:.1f} s"
    )


def made(folder: Path, number: int) -> Bundle:
    from artifacts.conftest import OUTPUT, manifest_of

    from millwork.triton_releases import find

    folder.mkdir()
    (folder / "model.onnx").write_bytes(f"model {number}".encode())
    (folder / "golden.npz").write_bytes(b"golden rows")
    request = triton_config.ConfigRequest(
        name="m", triton_backend="onnxruntime", release=find("24.10"), model_file="model.onnx", model_sha256="ab",
        features=2, output=OUTPUT,
    )  # fmt: skip
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
    repository = ObjectRepository(parse(url))
    while not over.is_set():
        found = repository.store.read(f"{repository.address.prefix}/m/config.pbtxt")
        if found is not None:
            seen.append(triton_config.parse(found.content.decode()).version_policy.specific.versions[0])


if __name__ == "__main__":
    main()
