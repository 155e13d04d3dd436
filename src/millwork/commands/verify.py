"""``verify``: is what is published, or what a run chose, still what it was? Which file isn't?"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..artifacts import manifest as manifests
from ..artifacts import repository, signing
from ..artifacts.repository import reading, standard
from ..artifacts.repository.layout import LONGEST_CONFIG
from ..errors import ModelError, UsageError
from ..pipeline import serve
from ..storage import scratch
from ..storage.opening import read_text
from ..storage.run_cover import ENDED, record_changes
from ..storage.run_directory import STAGES, changes
from ..storage.strays import is_stray
from ..triton import config as triton_config
from ..values import Value
from .options import VerifyOptions

SHOWN = 12
"""Problems in a message."""


class Verified(Value):
    """``where``: a version's place, or a run directory. ``problems``: a sentence each, empty where all is as it was.
    ``signed``: by the key that was given; None where none was. ``uncovered``: what nothing is known of. ``unfinished``:
    a publication that is under way, or was cut off, and how that ends."""

    where: str
    files: int
    problems: tuple[str, ...]
    manifest_sha256: str = ""
    signed: bool | None = None
    version: int | None = None
    uncovered: str = ""
    unfinished: str = ""


def verify(options: VerifyOptions) -> Verified:
    """A run's stages, or a published version; UsageError where neither is named."""
    key = None if options.key is None else Path(options.key)
    if options.run_dir is not None and options.repository is None:
        return run(Path(options.run_dir), key)
    if options.run_dir is None and options.repository is not None and options.name is not None:
        return version(str(options.repository), options.name, options.version, key)
    raise UsageError("verify what?", "Give --repository URL and --name NAME, or a run's folder.")


def require_unchanged(found: Verified) -> None:
    """ModelError, which names the files, where something isn't as it was."""
    if not found.problems:
        return
    listed = "\n".join(f"  {problem}" for problem in found.problems[:SHOWN])
    more = f"\n  and {len(found.problems) - SHOWN} more" if len(found.problems) > SHOWN else ""
    raise ModelError(f"{found.where} isn't as it was made:\n{listed}{more}", "Publish again, or roll back.")


def version(url: str, name: str, number: int | None, key: Path | None) -> Verified:
    """Compare a published version with its manifest, its configuration with the one it was published with, and with
    ``key`` its signature. UsageError for what isn't there."""
    where = repository.at(url)
    for _ in range(reading.TRIES):
        seen = _version(where, name, number, key)
        if number is not None or not seen.problems or seen.version == where.serves(name):
            break  # else it was taken back while it was read
    return seen


def _version(where: repository.Repository, name: str, number: int | None, key: Path | None) -> Verified:
    with scratch.folder("verify") as copies:
        read = reading.found(where, name, number, copies)
        found, folder = read.version, read.folder
        place = f"{where.url}/{name}/{found}"
        if key is not None and not (folder / manifests.MANIFEST_FILE).exists():
            raise ModelError(f"{place}: no manifest, so millwork didn't publish it", "Publish it with optimize.")
        told = [
            *standard.problems(folder, name, found, where.noted(name, found)),
            *_configuration(where, name, found, folder),
        ]
        open_one = where.unfinished(name)
        if open_one is not None and open_one.cut_off and open_one.committed and open_one.version == found:
            told.append(f"{open_one.words}. {open_one.hint}")
            open_one = None
        said = "" if open_one is None else f"{open_one.words}. {open_one.hint}"
        return msgspec.structs.replace(_verified(place, folder, told, key), version=found, unfinished=said)


def run(run_dir: Path, key: Path | None) -> Verified:
    """The same for the files in a run directory: every stage, the record with what lies beside it, and the bundles that
    the run chose."""
    if key is not None:
        raise UsageError("--key with a run directory: only what is published is signed", "Leave one of the two out.")
    folders = sorted(path for path in (run_dir / STAGES).glob("*") if _is_stage(path))
    if not folders:
        raise UsageError(f"{run_dir}: no run in it", "Give the folder that --run-dir named.")
    told = [f"{STAGES}/{folder.name}: {change}" for folder in folders for change in changes(folder)]
    beside = record_changes(run_dir)
    told += beside or ()
    count = sum(path.is_file() for folder in folders for path in folder.rglob("*"))
    count += sum((run_dir / name).is_file() for name in ENDED)
    if not told and (run_dir / serve.CHOSEN_FILE).exists():
        serve.chosen(run_dir)
    uncovered = "the run didn't end, or is an older one: run.json and the report aren't compared"
    return Verified(
        where=str(run_dir), files=count, problems=tuple(told), uncovered=uncovered if beside is None else ""
    )


def _is_stage(folder: Path) -> bool:
    return folder.is_dir() and ".tmp-" not in folder.name and not is_stray(folder)


def _verified(place: str, folder: Path, told: list[str], key: Path | None) -> Verified:
    manifest = folder / manifests.MANIFEST_FILE
    unsigned = signing.problems(folder, key) if key is not None else []
    return Verified(
        where=place,
        files=sum(path.is_file() for path in folder.rglob("*")),
        problems=(*told, *unsigned),
        manifest_sha256=manifests.sha256(folder) if manifest.is_file() else "",
        signed=None if key is None else not unsigned,
    )


def _configuration(where: repository.Repository, name: str, number: int, folder: Path) -> list[str]:
    """Whether the configuration that serves is the version's own but for comments."""
    own = folder / manifests.CONFIG_FILE
    try:
        if where.serves(name) != number or not own.is_file():
            return []
        same = triton_config.fingerprint(where.config(name)) == triton_config.fingerprint(
            read_text(own, LONGEST_CONFIG)
        )
    except (ModelError, UnicodeDecodeError) as error:
        return [f"{manifests.CONFIG_FILE}: {error}"]
    return [] if same else [f"{manifests.CONFIG_FILE}, by which it serves, was changed since it was published"]
