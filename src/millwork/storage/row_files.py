"""Files of rows with named columns, each to a pyarrow table: .parquet and folders of it, .csv and .tsv (compressed,
too), .feather and .arrow. What a file would take in memory is asked before it is read, or while it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import archives, opening
from .files import broken_link, refusal

PARQUET = (".parquet", ".pq", ".parq")
TEXT = {".csv": ",", ".tsv": "\t"}
ARROW = (".feather", ".arrow", ".ipc")
ARRAYS = (".npy", ".npz")
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
CODECS = (".gzip", ".gz", ".snappy", ".zstd", ".zst", ".brotli", ".lz4")
"""What some write behind .parquet, whose pages are compressed anyway."""
FORMATS = (".parquet", ".pq", ".csv", ".tsv", ".csv.gz", ".feather", ".arrow", ".npy", ".npz")
"""Those that a message names; :data:`PARQUET`, :data:`TEXT` with :data:`COMPRESSED`, :data:`ARROW` and :data:`ARRAYS`
are all."""

MOST_PARTS, DEEPEST = 10_000, 16
"""Files of a folder of parquet, and how deep they may lie."""

HEAD = 1 << 16
"""Bytes of a text in which its first line ends, or else its separator is taken for a comma."""
BLOCK = 1 << 24

_LAKES = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table", "metadata": "an Iceberg table"}
"""Folders that say that files beside them may be old versions of the rows."""


def kind(path: Path) -> str:
    """``parquet``, ``csv``, ``arrow``, ``array`` or ``folder``: how ``path`` is read; empty where it isn't."""
    ending = _ending(path)
    if path.is_dir():
        return "folder"
    known = {**dict.fromkeys(PARQUET, "parquet"), **dict.fromkeys(ARROW, "arrow"), **dict.fromkeys(ARRAYS, "array")}
    return "csv" if ending in TEXT else known.get(ending, "")


def require(path: Path) -> None:
    """UsageError where there is nothing to read at ``path``, or it is of no kind that is read."""
    if what := opening.odd(path):
        raise UsageError(f"{path}: {opening.not_regular(what)}", "Save the rows to a file, and give that file.")
    try:
        status = path.stat()
    except FileNotFoundError:
        if astray := broken_link(path):
            raise UsageError(astray, "Check the path of the rows.") from None
        raise UsageError(f"{path}: there is no such file", "Check the path of the rows.") from None
    except (OSError, ValueError) as error:
        why = refusal(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: can't be read: {why}") from error
    if not kind(path):
        raise UsageError(f"{path}: this kind of data file isn't supported", f"Expected one of {', '.join(FORMATS)}.")
    if stat.S_ISDIR(status.st_mode):
        parts(path)
    else:
        archives.require_file_size(path, status.st_size)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path}: permission denied")


def parts(folder: Path) -> list[Path]:
    """The files of a folder of parquet, in the order of their paths; names that begin with ``_`` or ``.`` are no rows.
    UsageError where there is none, or something else."""
    try:
        found = sorted(_walk(folder, 0))
    except OSError as error:
        raise UsageError(f"{refusal(error, folder)}") from error
    if not found:
        raise UsageError(f"{folder}: this is a folder without .parquet files", "Name the file with the rows.")
    return found


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    if depth > DEEPEST:
        raise UsageError(f"{folder}: folders of parquet are read {DEEPEST} deep")
    count = 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, lake = Path(entry.path), _LAKES.get(entry.name)
        if entry.is_dir() and lake and (entry.name != "metadata" or any(path.glob("*.metadata.json"))):
            raise UsageError(
                f"{folder}: this is {lake}; its folder also holds rows that were replaced or deleted",
                "Export the rows that count to a .parquet file, and give that.",
            )
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_dir():
            yield from _walk(path, depth + 1)
        elif path.suffix.lower() not in PARQUET or not entry.is_file():
            raise UsageError(f"{path}: a folder of rows may hold .parquet files only", "Name the file with the rows.")
        else:
            yield path
        count += 1
        if count > MOST_PARTS:
            raise UsageError(f"{folder}: the folder has more than {MOST_PARTS:,} files")


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What pyarrow raises of a file, as a UsageError."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        what = "folder of parquet" if path.is_dir() else f"{_ending(path)[1:]} file"
        raise UsageError(f"{path}: not a readable {what}: {archives.reason(error)}") from error


def table(path: Path) -> Any:
    """The rows of ``path``, which isn't an array. What pyarrow raises is for :func:`readable`."""
    read = {"folder": _folder, "parquet": _parquet, "arrow": _arrow, "csv": text}[kind(path)]
    return _plain(read(path))


def _plain(found: Any) -> Any:
    """``found`` without types that pyarrow can't do all with: views become texts, and what an extension's type stores
    is taken as it is."""
    import pyarrow as pa

    views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()} if hasattr(pa, "string_view") else {}
    for i, field in enumerate(found.schema):
        column, kind = found.column(i), field.type
        if isinstance(kind, pa.BaseExtensionType):
            chunks = [chunk.storage for chunk in column.chunks]
            found = found.set_column(i, field.name, pa.chunked_array(chunks, kind.storage_type))
        elif kind in views:
            found = found.set_column(i, field.name, column.cast(views[kind]))
        elif pa.types.is_dictionary(kind) and kind.value_type in views:
            texts = [chunk.dictionary.cast(views[kind.value_type]).take(chunk.indices) for chunk in column.chunks]
            found = found.set_column(i, field.name, pa.chunked_array(texts, views[kind.value_type]))
    return found


def _parquet(path: Path) -> Any:
    import pyarrow.parquet

    archives.require_parquet(path)
    with opening.opened(path) as file:
        return pyarrow.parquet.ParquetFile(file).read()  # two columns of one name are told by who wants one of them


def _folder(folder: Path) -> Any:
    """All parts, one after the other; names of folders such as ``day=3`` are columns."""
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet

    files = parts(folder)
    schemas = {}
    size = stored = 0
    for file in files:
        with readable(file):
            footer = pyarrow.parquet.read_metadata(file)
        schemas[file] = schema = footer.schema.to_arrow_schema()
        if twice := first_twice(schema.names):
            raise UsageError(f"{file}: two columns are called {twice!r}", "Rename one of them.")
        stored += archives.parquet_bytes(footer)
        size += file.stat().st_size
    archives.require_size(folder, stored, size=size)
    first = schemas[files[0]]
    for file, schema in schemas.items():
        odd = sorted(set(first.names) ^ set(schema.names))
        if odd:
            has, lacks = (files[0], file) if odd[0] in first.names else (file, files[0])
            raise UsageError(
                f"{folder}: {lacks.relative_to(folder)} has no column {odd[0]!r}, which {has.relative_to(folder)} has"
            )
    partitioning = pyarrow.dataset.partitioning(flavor="hive")

    def dataset(schema: Any) -> Any:
        return pyarrow.dataset.dataset(
            [str(file) for file in files],
            format="parquet",
            schema=schema,
            partitioning=partitioning,
            partition_base_dir=str(folder),
        )

    types = pa.unify_schemas([schema.remove_metadata() for schema in schemas.values()], promote_options="permissive")
    for field in dataset(None).schema:  # those that the folders' names are
        if field.name not in types.names:
            types = types.append(field)
    return dataset(types).to_table()


def first_twice(names: Sequence[str]) -> str:
    """The first name that another column has, too; empty where each has its own."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), "")  # type: ignore[func-returns-value]


def _arrow(path: Path) -> Any:
    """Batch by batch, since each says its size once it is there; what lies about its own length is found."""
    import pyarrow as pa
    import pyarrow.feather

    with opening.opened(path) as file:
        magic = file.read(6)
        if magic[:4] == b"FEA1":
            archives.require_size(path, path.stat().st_size)
            return pyarrow.feather.read_table(path)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            reader = batches = pa.ipc.open_stream(file)
        taken, size = [], 0
        for batch in batches:
            size += batch.nbytes
            archives.require_size(path, size)
            taken.append(batch)
        found = pa.Table.from_batches(taken, reader.schema)
    found.validate(full=True)
    return found


def text(path: Path, convert: Any = None) -> Any:
    """A .csv or .tsv, compressed or not; ``convert``: pyarrow's options of values."""
    import pyarrow.csv

    source, head = _plain_text(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path}: the text is UTF-16, not UTF-8", "Save it as UTF-8 (in Excel: 'CSV UTF-8').")
    parse = pyarrow.csv.ParseOptions(delimiter=separator(head, TEXT[_ending(path)]))
    return pyarrow.csv.read_csv(source, parse_options=parse, convert_options=convert)


def _plain_text(path: Path) -> tuple[Any, bytes]:
    """What pyarrow reads, and how it begins."""
    import pyarrow as pa

    codec = COMPRESSED.get(path.suffix.lower())
    if codec is None:
        archives.require_size(path, path.stat().st_size)
        with opening.opened(path) as file:
            return str(path), file.read(HEAD)
    blocks, size = [], 0
    with pa.input_stream(str(path), compression=codec) as stream:
        while block := stream.read(BLOCK):
            size += len(block)
            archives.require_size(path, size)
            blocks.append(block)
    whole = b"".join(blocks)
    return pa.BufferReader(whole), whole[:HEAD]


def separator(head: bytes, usual: str) -> str:
    """What stands between the names of a text's first line: ``usual``, but a semicolon or a tab where that line has
    some and no ``usual``. What stands in quotes isn't looked at."""
    line = b"".join(head.split(b'"')[::2]).split(b"\n", 1)[0]
    others = (b";", b"\t", b",")
    return usual if usual.encode() in line else next((o.decode() for o in others if o in line), usual)


def _ending(path: Path) -> str:
    """``.csv`` of ``rows.csv.gz``: the ending that says the kind."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower()
    packed = suffix in COMPRESSED and inner in TEXT
    return inner if packed or (suffix in CODECS and inner in PARQUET) else suffix
