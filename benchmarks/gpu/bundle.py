"""What a bare GPU machine lacks, in bundles of at most 60 MiB: our source, a few models, the wheels.

    python benchmarks/gpu/bundle.py OUT [--models FOLDER] [--wheels FOLDER] [--with onnxruntime,torch,job]
                                        [--python 3.12] [--limit-mib 60]

OUT gets bundle-01.tar …, index.json (each bundle and each file with its size and sha256) and unpack.py, which checks
and unpacks them with Python alone. Wheels are downloaded by pip where no folder of them is given. A file larger than a
bundle is cut into pieces. The source is what git has of this checkout, changes that aren't committed included.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
UNPACK = Path(__file__).with_name("unpack.py")
MIB = 1 << 20
HEADROOM = 64 << 10
"""Bytes of a bundle that tar takes for itself: blocks, names, the end."""

WHEELS: dict[str, tuple[str, ...]] = {
    "kernel": ("cuda-bindings>=13,<14", "cuda-pathfinder>=1.3,<2", "nvidia-cuda-nvrtc>=13,<14"),
    "nvml": ("nvidia-ml-py",),
    "nvforest": (
        "nvforest-cu13==26.10.0", "libnvforest-cu13==26.10.0", "pylibraft-cu13==26.10.0", "libraft-cu13==26.10.0",
        "rmm-cu13==26.10.0", "librmm-cu13==26.10.0", "rapids-logger==0.3.0", "treelite>=4.7,<5", "scikit-learn",
        "scipy", "joblib", "threadpoolctl", "cupy-cuda13x>=14.0.1,!=14.1.0", "nvidia-cuda-runtime>=13,<14", "packaging",
    ),
    "onnxruntime": ("onnxruntime-gpu>=1.22", "flatbuffers", "protobuf"),
    "torch": (
        "torch>=2.10", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock", "typing_extensions",
    ),
    "job": (
        "typer", "shellingham", "annotated-doc", "annotated-types", "pydantic==2.14.4", "pydantic-core==2.50.5",
        "typing-inspection", "filelock", "jinja2", "markupsafe", "msgspec", "onnx", "onnx-ir", "ml_dtypes",
        "platformdirs", "psutil", "pyarrow", "rich", "pygments", "markdown-it-py", "mdurl", "tritonclient", "grpcio",
        "protobuf", "sympy", "python-rapidjson", "mpmath", "typing_extensions", "xgboost-cpu", "onnxruntime",
        "flatbuffers", "setuptools", "wheel",
    ),
}  # fmt: skip
"""By what they are for; without dependencies, which are named here. ``job``: the main job, and the parts millwork and
triton of run.py."""
USUAL = ("kernel", "nvml", "nvforest")


@dataclass(frozen=True)
class Piece:
    """``size`` bytes from ``begin`` of a file, called ``name`` in its bundle."""

    name: str
    file: Path
    begin: int
    size: int


def pieces(name: str, file: Path, most: int) -> list[Piece]:
    """A file as it is, or in pieces NAME.part000 … of at most ``most`` bytes."""
    size = file.stat().st_size
    if size <= most:
        return [Piece(name, file, 0, size)]
    begins = range(0, size, most)
    return [Piece(f"{name}.part{i:03}", file, at, min(most, size - at)) for i, at in enumerate(begins)]


def packed(given: Iterable[Piece], most: int) -> list[list[Piece]]:
    """First fit, the largest first: bundles of at most ``most`` bytes with tar's own (512 a piece, and padding)."""
    bundles: list[list[Piece]] = []
    room: list[int] = []
    for piece in sorted(given, key=lambda one: (-one.size, one.name)):
        takes = 1024 + -(-piece.size // 512) * 512
        place = next((i for i, left in enumerate(room) if left >= takes), len(bundles))
        if place == len(bundles):
            bundles.append([])
            room.append(most)
        bundles[place].append(piece)
        room[place] -= takes
    return bundles


def write(out: Path, files: Sequence[tuple[str, Path]], limit: int) -> dict[str, object]:
    """The bundles of ``files`` (name in the bundle, file), index.json and unpack.py in ``out``; the index."""
    most = limit - HEADROOM
    cut = {name: pieces(name, file, most - 2048) for name, file in files}
    bundles = packed([piece for of in cut.values() for piece in of], most)
    written = []
    for number, own in enumerate(bundles, 1):
        path = out / f"bundle-{number:02}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for piece in own:
                entry = tarfile.TarInfo(piece.name)
                entry.size = piece.size
                with piece.file.open("rb") as file:
                    file.seek(piece.begin)
                    tar.addfile(entry, file)
        if path.stat().st_size > limit:
            raise SystemExit(f"{path.name} has {path.stat().st_size:,} bytes, more than {limit:,}")
        written.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)})
    index: dict[str, object] = {
        "schema": 1,
        "bundles": written,
        "files": [
            {"name": name, "bytes": file.stat().st_size, "sha256": sha256(file), "pieces": [p.name for p in cut[name]]}
            for name, file in files
        ],
    }
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    shutil.copyfile(UNPACK, out / UNPACK.name)
    return index


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_archive(path: Path) -> None:
    """What git lists of this checkout (and doesn't ignore), as it lies there; always the same bytes for the same."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=SOURCE,
        check=True,
        capture_output=True,
    ).stdout.decode()
    _archive(path, [(name, SOURCE / name) for name in sorted(set(listed.split("\0"))) if name])


def _archive(path: Path, files: Iterable[tuple[str, Path]]) -> None:
    """A .tar.xz without times or owners; links stay links."""
    with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT) as tar:
        for name, file in files:
            if not file.is_symlink() and not file.is_file():
                continue  # deleted, and not committed yet
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755 if not file.is_symlink() and file.stat().st_mode & 0o100 else 0o644
            if file.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(file.readlink())
                tar.addfile(entry)
                continue
            content = file.read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def download(groups: Sequence[str], folder: Path, python: str) -> None:
    """Wheels for x86-64 Linux and CPython ``python``, by pip; without dependencies, since all are named."""
    named = dict.fromkeys(requirement for group in groups for requirement in WHEELS[group])
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in (17, 24, 27, 28, 34, 35)] + ["manylinux2014_x86_64"]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(folder),
            "--python-version",
            python,
            "--implementation",
            "cp",
            *(part for platform in platforms for part in ("--platform", platform)),
            *named,
        ],
        check=True,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument(
        "--with", dest="extra", default="", help=f"some of {', '.join(sorted(set(WHEELS) - set(USUAL)))}"
    )
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--limit-mib", type=float, default=60)
    given = parser.parse_args(arguments)
    groups = [*USUAL, *filter(None, given.extra.split(","))]
    if unknown := [name for name in groups if name not in WHEELS]:
        parser.error(f"--with {unknown[0]}: expected some of {', '.join(WHEELS)}")
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        wheels = given.wheels or Path(scratch) / "wheels"
        if given.wheels is None:
            download(groups, wheels, given.python)
        source, models = Path(scratch) / "source.tar.xz", Path(scratch) / "models.tar.xz"
        source_archive(source)
        _archive(models, [(f"models/{p.relative_to(given.models)}", p) for p in sorted(given.models.rglob("*"))])
        files = [("source.tar.xz", source), ("models.tar.xz", models)]
        files += [(f"wheels/{wheel.name}", wheel) for wheel in sorted(wheels.glob("*.whl"))]
        index = write(given.out, files, int(given.limit_mib * MIB))
    for one in index["bundles"]:  # type: ignore[attr-defined]
        print(f"{one['name']}  {one['bytes'] / MIB:6.1f} MiB  {one['sha256']}")


if __name__ == "__main__":
    main()
