"""What ``inspect`` says of a published version: a model's folder in a repository, or one of its versions'."""

from __future__ import annotations

from pathlib import Path

from ..artifacts import manifest as manifests
from ..artifacts.repository import at, reading
from ..artifacts.repository.layout import LONGEST_CONFIG
from ..artifacts.repository.object_store.address import is_object_store
from ..artifacts.served_again import native_of
from ..artifacts.served_way import served_way
from ..errors import UsageError
from ..storage import scratch
from ..storage.opening import read_text
from ..triton import config as triton_config
from ..values import Manifest, ServedWay, Value

FILES = (".json", ".ubj", ".cbm", ".pkl", ".pickle", ".joblib", ".pt", ".pt2", ".pth", ".onnx", ".bin", ".model")
"""How a model's own file ends, in an object store, where nobody can see whether it is a folder."""


class PublishedVersion(Value):
    """``serves``: whether a client who names no version gets this one; ``settings``: of its configuration, in words."""

    repository: str
    name: str
    version: int
    serves: bool
    served: ServedWay
    settings: str
    manifest: Manifest


def find(model: str) -> PublishedVersion | None:
    """The version that ``model`` names, REPOSITORY/NAME or REPOSITORY/NAME/N; None where it is no such place.
    UsageError where millwork didn't publish it, ModelError where it can't be read."""
    place = _place(model)
    if place is None:
        return None
    where, name, number = place
    repository = at(where)
    with scratch.folder("inspect") as copies:
        found = reading.found(repository, name, number, copies)
        version, folder = found.version, found.folder
        serves = number is None or repository.serves(name) == version
        if not (folder / manifests.MANIFEST_FILE).exists():
            raise UsageError(
                f"{model}: millwork didn't publish version {version}", "It has no manifest. Inspect the model's file."
            )
        manifest = manifests.read(folder)
        own = folder / manifests.CONFIG_FILE
        text = found.config or (
            repository.config(name) if serves or not own.is_file() else read_text(own, LONGEST_CONFIG)
        )
    return PublishedVersion(
        repository=repository.url,
        name=name,
        version=version,
        serves=serves,
        served=manifest.served or _said_now(manifest),
        settings=triton_config.settings_of(text).words,
        manifest=manifest,
    )


def _said_now(manifest: Manifest) -> ServedWay:
    """Of a version that was published before manifests said it."""
    return served_way(manifest.triton_backend, native_of(manifest), manifest.requirements, manifest.triton_release)


def _place(model: str) -> tuple[str, str, int | None] | None:
    """Repository, name and version of a place in one."""
    head, _, last = model.rstrip("/").rpartition("/")
    numbered = last.isdigit() and not last.startswith("0")
    if is_object_store(model):
        if Path(last).suffix in FILES or "/" not in head.partition("://")[2]:
            return None
        above, _, name = head.rpartition("/")
        return (above, name, int(last)) if numbered and "/" in above.partition("://")[2] else (head, last, None)
    folder = Path(model).absolute()
    if (folder / manifests.CONFIG_FILE).is_file() and not (folder / manifests.MANIFEST_FILE).is_file():
        return str(folder.parent), folder.name, None
    if numbered and (folder / manifests.MANIFEST_FILE).is_file():
        return str(folder.parent.parent), folder.parent.name, int(last)
    return None
