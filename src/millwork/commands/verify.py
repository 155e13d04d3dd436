"""``verify``: is what is published, or what a run chose, still what it was? Which file isn't?"""

from __future__ import annotations

from pathlib import Path

from ..artifacts import manifest as manifests
from ..artifacts import repository, signing
from ..artifacts.repository.layout import LONGEST_CONFIG
from ..errors import ModelError, UsageError
from ..pipeline import serve
from ..storage import scratch
from ..storage.opening import read_text
from ..storage.run_directory import STAGES, changes
from ..storage.strays import is_stray
from ..triton import config as triton_config
from ..values import Manifest, Value
from .options import VerifyOptions

SHOWN = 12
"""Problems in a message."""


class Verified(Value):
    """``where``: a version's place, or a run directory. ``problems``: a sentence each, empty where all is as it was.
    ``signed``: by the key that was given; None where none was."""

    where: str
    files: int
    problems: tuple[str, ...]
    manifest_sha256: str = ""
    signed: bool | None = None


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
    found = where.find(name, number)
    place = f"{where.url}/{name}/{found}"
    with scratch.folder("verify") as copies:
        folder = where.files(name, found, copies)
        if key is not None and not (folder / manifests.MANIFEST_FILE).exists():
            raise ModelError(f"{place}: no manifest, so millwork didn't publish it", "Publish it with optimize.")
        told = [*_files(folder), *_configuration(where, name, found, folder)]
        noted, manifest = where.manifest_sha256(name, found), folder / manifests.MANIFEST_FILE
        if noted and manifest.is_file() and manifests.sha256(manifest.parent) != noted:
            told.append(f"{manifests.MANIFEST_FILE} was changed: it isn't the one that was published")
        return _verified(place, folder, told, key)


def run(run_dir: Path, key: Path | None) -> Verified:
    """The same for the files in a run directory: every stage, and the bundles that it chose."""
    if key is not None:
        raise UsageError("--key with a run directory: only what is published is signed", "Leave one of the two out.")
    folders = sorted(path for path in (run_dir / STAGES).glob("*") if _is_stage(path))
    if not folders:
        raise UsageError(f"{run_dir}: no run in it", "Give the folder that --run-dir named.")
    told = [f"{STAGES}/{folder.name}: {change}" for folder in folders for change in changes(folder)]
    count = sum(path.is_file() for folder in folders for path in folder.rglob("*"))
    if not told and (run_dir / serve.CHOSEN_FILE).exists():
        serve.chosen(run_dir)
    return Verified(where=str(run_dir), files=count, problems=tuple(told))


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


def _files(folder: Path) -> list[str]:
    """What is missing, changed, or there and in no manifest."""
    try:
        manifest: Manifest = manifests.read(folder)
    except ModelError as error:
        return [error.message]
    listed = {entry.path for entry in manifest.files} | manifests.UNLISTED
    there = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not (path.is_dir() or is_stray(path))
    )
    added = [f"{path} was added: the manifest doesn't list it" for path in there if path not in listed]
    return [*manifests.verify_files(folder, manifest), *added]


def _configuration(where: repository.Repository, name: str, number: int, folder: Path) -> list[str]:
    """Whether the version's own configuration is one of it, and the one that serves is the same but for comments."""
    own = folder / manifests.CONFIG_FILE
    if not own.is_file():
        return [f"{manifests.CONFIG_FILE} is missing from the version's folder"]
    try:
        text = read_text(own, LONGEST_CONFIG)
        if triton_config.parse(text).name != name or triton_config.served(text, [number]) != (number,):
            return [f"{number}/{manifests.CONFIG_FILE} was changed: it isn't one of version {number} of {name}"]
        if where.find(name) != number:
            return []
        same = triton_config.fingerprint(where.config(name)) == triton_config.fingerprint(text)
    except (ModelError, UnicodeDecodeError) as error:
        return [f"{manifests.CONFIG_FILE}: {error}"]
    except UsageError:  # nothing serves: then nothing differs
        return []
    return [] if same else [f"{manifests.CONFIG_FILE}, by which it serves, was changed since it was published"]
