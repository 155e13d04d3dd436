"""Our own parsers under atheris, which looks for inputs that reach new lines of them.

    python tests/fuzz/coverage_guided.py TARGET [RUNS] [libFuzzer's options …]
    python tests/fuzz/coverage_guided.py all 1000000     the runs shared among all, one process each

An exception that isn't one of millwork's ends it, with the input in build/fuzz.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
LEFT = HERE.parent.parent / "build" / "fuzz"
"""Where the inputs go that broke something."""
LONGEST = 4096


def main(arguments: list[str]) -> int:
    target, runs = arguments[0], int(arguments[1]) if len(arguments) > 1 else 100_000
    if target == "all":
        return max(_process(name, runs // len(TARGETS), arguments[2:]) for name in TARGETS)
    import atheris

    LEFT.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["millwork"]):
        parse = TARGETS[target]()
    from millwork.errors import MillworkError

    def once(content: bytes) -> None:
        try:
            parse(content)
        except MillworkError:
            return

    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(_seeds(target)):
            (Path(folder) / str(number)).write_bytes(seed)
        options = [
            f"-runs={runs}",
            f"-max_len={LONGEST}",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-verbosity=0",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={LEFT}/", *arguments[2:], folder], once)
        atheris.Fuzz()
    return 0


def _process(name: str, runs: int, options: list[str]) -> int:
    done = subprocess.run(
        [sys.executable, __file__, name, str(runs), *options], capture_output=True, text=True, errors="replace"
    )
    stats = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line or "peak_rss" in line]
    print(name, *(stats if done.returncode == 0 else [_exception(done.stdout + done.stderr)]), flush=True)  # noqa: T201
    return done.returncode


def _exception(said: str) -> str:
    """What Python said of it, without what libFuzzer says around."""
    return said[said.find("=== Uncaught") :].partition("INFO:")[0][-2500:]


def _seeds(target: str) -> list[bytes]:
    """Whole files, and words, that the target takes."""
    import seeds

    kept = {
        "ubjson": "ubj",
        "ubjson member": "ubj",
        "xgboost": "json",
        "catboost": "json",
        "catboost binary": "cbm",
        "pickles": "pkl",
        "streams": "joblib",
        "sniff": "json",
        "manifest": "manifest",
        "config": "config",
        "npz": "npz",
        "csv": "csv",
    }.get(target)
    if kept is not None:
        return [content for content in seeds.SEEDS[kept]() if len(content) <= LONGEST]
    return [text.encode() for text in SPECS.get(target, ())]


SPECS = {
    "traffic": ("batch=1:0.8,16:0.15,256:0.05 rate=2000/s", "batch=64 clients=4", "rate=5/min"),
    "slo": ("p99<5ms", "p99<=5ms rows>=1000/s", "p50<100us memory<2GB cores<4", "rows_per_s>1000"),
    "tolerance": ("abs=1e-6", "abs=1e-6 rel=1e-5", "ulp=4 flips=0", "max_abs=1e-3,flips=0.1%"),
    "passes": ("select-rounds", "a(b=1)", "merge;sort"),
    "address": ("managed", "none", "grpc://localhost:8001", "grpc://[::1]:8001", "/opt/tritonserver"),
    "repository": ("file:///a/b", "./models", "s3://bucket/key", "file://localhost/a%20b"),
    "city hash": ("", "a", "abc" * 10, "x" * 200),
}


# ── the targets: each imports what it asks, and gives a function of bytes ─────────────────────────────────

Parse = Callable[[bytes], Any]


def _ubjson() -> Parse:
    from millwork.compile.frontends import ubjson

    return ubjson.parse


def _member() -> Parse:
    from millwork.compile.frontends import ubjson

    return lambda content: ubjson.member(content, "Model")


def _pickles() -> Parse:
    from millwork.compile.frontends.pickles import Limits, read_pickled

    limits = Limits(opcodes=20_000, containers=10_000, memo=10_000, expanded_bytes=1 << 20)
    return lambda content: read_pickled(content, "m.pkl", limits)


def _streams() -> Parse:
    from millwork.compile.frontends.pickles.streams import expand, head_of

    def parse(content: bytes) -> None:
        head_of(content, 100)
        expand(content, "m.joblib", 1 << 20)

    return parse


def _provenance() -> Any:
    from millwork.values import Provenance

    return Provenance(path="m", format="json", sha256="", framework="xgboost", framework_version="")


def _xgboost() -> Parse:
    from millwork.compile.frontends.loaded_model import NativeFile
    from millwork.compile.frontends.read import _json
    from millwork.compile.frontends.xgboost import model as xgboost

    where = _provenance()
    return lambda content: xgboost.load(_json(content, Path("m")), NativeFile("model.json", content), where)


def _catboost() -> Parse:
    from millwork.compile.frontends.catboost import model as catboost
    from millwork.compile.frontends.loaded_model import NativeFile
    from millwork.compile.frontends.read import CatBoostExport, _json

    where = _provenance()
    return lambda content: catboost.load(
        _json(content, Path("m"), CatBoostExport), NativeFile("model.json", content), where
    )


def _catboost_binary() -> Parse:
    from millwork.compile.frontends.catboost import binary

    def parse(content: bytes) -> None:
        found = binary.read(content)
        if found is not None:
            binary.tables(content, found)

    return parse


def _in_a_file(suffix: str, parse: Callable[[Path], Any]) -> Parse:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108
    path = folder / f"m{suffix}"

    def write(content: bytes) -> None:
        path.write_bytes(content)
        parse(path)

    return write


def _sniff() -> Parse:
    from millwork.compile.frontends.sniff import sniff

    return _in_a_file(".pkl", sniff)


def _manifest() -> Parse:
    from millwork.artifacts import manifest

    def read(path: Path) -> None:
        path.replace(path.with_name(manifest.MANIFEST_FILE))
        manifest.read_intact(path.parent)

    return _in_a_file(".json", read)


def _config() -> Parse:
    import formats

    return _in_a_file(".pbtxt", formats._config)


def _npz() -> Parse:
    import formats

    return _in_a_file(".npz", formats._rows)


def _csv() -> Parse:
    import formats

    return _in_a_file(".csv", formats._rows)


def _recording(suffix: str) -> Callable[[], Parse]:
    def target() -> Parse:
        from millwork.validators import recording

        return _in_a_file(suffix, recording.read)

    return target


def _text(find: Callable[[], Callable[[str], Any]]) -> Callable[[], Parse]:
    """A parser of what a user types."""

    def target() -> Parse:
        parse = find()
        return lambda content: parse(content.decode(errors="replace"))

    return target


def _traffic() -> Callable[[str], Any]:
    from millwork.validators import traffic

    return traffic.parse


def _slo() -> Callable[[str], Any]:
    from millwork.tuning import slo

    return slo.parse


def _tolerance() -> Callable[[str], Any]:
    from millwork.validators import tolerance

    return tolerance.parse


def _passes() -> Callable[[str], Any]:
    from millwork.passes import pass_table

    return pass_table.parse


def _address() -> Callable[[str], Any]:
    from millwork.triton import address

    return address.parse


def _repository() -> Callable[[str], Any]:
    from millwork.artifacts import repository
    from millwork.artifacts.repository.names import check_name

    def parse(text: str) -> None:
        repository.local_path(text)
        check_name(text)

    return parse


def _city_hash() -> Callable[[str], Any]:
    from millwork.compile.frontends.catboost.city_hash import category_hash

    return category_hash


TARGETS: dict[str, Callable[[], Parse]] = {
    "ubjson": _ubjson,
    "ubjson member": _member,
    "xgboost": _xgboost,
    "catboost": _catboost,
    "catboost binary": _catboost_binary,
    "pickles": _pickles,
    "streams": _streams,
    "sniff": _sniff,
    "manifest": _manifest,
    "config": _config,
    "npz": _npz,
    "csv": _csv,
    "recording csv": _recording(".csv"),
    "recording jsonl": _recording(".jsonl"),
    "recording json": _recording(".json"),
    "traffic": _text(_traffic),
    "slo": _text(_slo),
    "tolerance": _text(_tolerance),
    "passes": _text(_passes),
    "address": _text(_address),
    "repository": _text(_repository),
    "city hash": _text(_city_hash),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
