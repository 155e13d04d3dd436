"""Check and unpack the bundles that lie beside this file. Python 3.11 and its standard library only.

python unpack.py FOLDER        FOLDER gets our source, models/ and wheels/; then it says what to run
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path


def unpack(here: Path, folder: Path) -> list[str]:
    """The files that were unpacked. SystemExit names the first bundle or file that is missing or damaged."""
    index = json.loads((here / "index.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    parts = folder / ".pieces"
    for bundle in index["bundles"]:
        path = here / bundle["name"]
        if not path.is_file():
            raise SystemExit(f"{path}: missing; index.json lists {len(index['bundles'])} bundles")
        _require(path, bundle["sha256"])
        with tarfile.open(path) as tar:
            tar.extractall(parts, filter="data")
    for file in index["files"]:
        whole = folder / file["name"]
        whole.parent.mkdir(parents=True, exist_ok=True)
        with whole.open("wb") as out:
            for piece in file["pieces"]:
                out.write((parts / piece).read_bytes())
                (parts / piece).unlink()
        _require(whole, file["sha256"])
        if whole.name.endswith(".tar.xz"):
            with tarfile.open(whole) as tar:
                tar.extractall(folder, filter="data")
            whole.unlink()
    for left in sorted(parts.rglob("*"), reverse=True):
        left.rmdir()
    parts.rmdir()
    return [file["name"] for file in index["files"]]


def _require(path: Path, wanted: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise SystemExit(f"{path}: damaged: sha256 {found[:16]}…, the index says {wanted[:16]}…")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit((__doc__ or "").strip())
    target = Path(sys.argv[1])
    print(f"{len(unpack(Path(__file__).resolve().parent, target))} files, all whole")
    print(f"cd {target} && python -m pip install --no-index --no-deps wheels/*.whl && python benchmarks/gpu/run.py")
