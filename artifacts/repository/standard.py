"""What a version must be to serve, now or again: one standard, for ``verify``, for a publication and for a rollback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...errors import ModelError
from ...storage.files import refusal
from ...storage.opening import read_limited
from ...storage.strays import is_stray
from ...triton import config as triton_config
from ...values import Value
from .. import manifest as manifests
from .. import signing
from .layout import LONGEST_CONFIG

INERT = ("", ".txt", ".md", ".log")
"""How names end that no server loads by themselves."""
SHOWN = 8
"""Problems in a message."""
EDITED = "version {version} serves by the config.pbtxt that was edited after it was published"
NOT_WHOLE = "version {version} serves by its own config.pbtxt: the one that it served by last isn't a whole one"
"""What to say of the configuration by which a version serves again."""
ENVIRONMENT = "EXECUTION_ENV_PATH"
"""The parameter by which Triton's python backend is told of an archive whose Python it runs."""


class Noted(Value):
    """What our notes say of a version, as it was published: the digests of its manifest and of its own config.pbtxt,
    and whose key signed it; empty where they don't say."""

    manifest_sha256: str = ""
    config_sha256: str = ""
    signer: str = ""


NOTHING = Noted()


def problems(
    folder: Path, name: str, version: int, noted: Noted, *, inert: bool = False, bytecode: bool = False
) -> list[str]:
    """Why ``version`` isn't as it was published, a sentence each. Passed over: with ``inert`` what somebody added that
    no server would run, with ``bytecode`` what a server's Python leaves beside code."""
    return [
        *_files(folder, inert=inert, bytecode=bytecode),
        *_manifest(folder, noted),
        *_own_configuration(folder, name, version, noted),
        *_signature(folder, noted),
    ]


def leads_out(text: str) -> list[str]:
    """What in a configuration names a file that isn't in the version's folder, a sentence each; ModelError where it
    can't be read."""
    config = triton_config.tolerant(text)
    named: list[tuple[str, str]] = [
        ("default_model_filename", config.default_model_filename),
        *(("cc_model_filenames", path) for path in config.cc_model_filenames.values()),
        *(("model_operations", path) for path in config.model_operations.op_library_filename),
        *(
            ("model_warmup", given.input_data_file)
            for warmup in config.model_warmup
            for given in warmup.inputs.values()
        ),
        *((ENVIRONMENT, one.string_value) for key, one in config.parameters.items() if key == ENVIRONMENT),
    ]
    return [
        f"{manifests.CONFIG_FILE}: {field} names {path!r}, which is outside the version's folder"
        for field, path in named
        if path and _outside(path)
    ]


def fits(text: bytes, name: str) -> bool:
    """Whether a configuration that a version of ours served by may serve it again: whole, and naming nothing
    outside."""
    try:
        config = triton_config.tolerant(text.decode())
        return config.name in ("", name) and bool(config.backend or config.platform) and not leads_out(text.decode())
    except (ModelError, UnicodeDecodeError):
        return False


def _outside(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.is_absolute() or ".." in pure.parts


def _files(folder: Path, *, inert: bool, bytecode: bool) -> list[str]:
    """What is missing, changed, or there and in no manifest."""
    try:
        manifest = manifests.read(folder)
    except ModelError as error:
        return [error.message]
    listed = {entry.path for entry in manifest.files}
    lacking = [
        f"the manifest names {named}, but its list of files lacks it"
        for named in sorted({manifest.model_file, manifest.golden_file} - {"", *listed})
    ]
    added = [
        f"{path} was added: the manifest doesn't list it"
        for path in _there(folder, bytecode=bytecode)
        if path not in listed | manifests.UNLISTED and not (inert and _inert(folder / path))
    ]
    return [*lacking, *manifests.verify_files(folder, manifest), *added]


def _there(folder: Path, *, bytecode: bool) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        left = bytecode and "__pycache__" in inner.parts and not path.is_symlink()
        if not left and (path.is_symlink() or not (path.is_dir() or is_stray(path))):
            yield inner.as_posix()


def _inert(path: Path) -> bool:
    """Whether nothing imports, links or loads a file of this name by itself: somebody's notes."""
    return path.suffix in INERT and path.is_file() and not path.is_symlink()


def _manifest(folder: Path, noted: Noted) -> list[str]:
    there = (folder / manifests.MANIFEST_FILE).is_file()
    if not noted.manifest_sha256 or not there or manifests.sha256(folder) == noted.manifest_sha256:
        return []
    return [f"{manifests.MANIFEST_FILE} was changed: it isn't the one that was published"]


def _own_configuration(folder: Path, name: str, version: int, noted: Noted) -> list[str]:
    """Whether the version's own configuration is one of it, and the one that was published."""
    own = folder / manifests.CONFIG_FILE
    try:
        content = read_limited(own, LONGEST_CONFIG)
        text = content.decode()
        if triton_config.parse(text).name != name or triton_config.served(text, [version]) != (version,):
            return [f"{version}/{manifests.CONFIG_FILE} was changed: it isn't one of version {version} of {name}"]
        told = [f"{version}/{one}" for one in leads_out(text)]
    except FileNotFoundError:
        return [f"{manifests.CONFIG_FILE} is missing from the version's folder"]
    except OSError as error:
        return [refusal(error, own)]
    except (ModelError, UnicodeDecodeError) as error:
        return [f"{version}/{manifests.CONFIG_FILE}: {error}"]
    if noted.config_sha256 and manifests.sha256_of(content) != noted.config_sha256:
        told = [f"{version}/{manifests.CONFIG_FILE} was changed: it isn't the one that was published", *told]
    return told


def _signature(folder: Path, noted: Noted) -> list[str]:
    """Whether the signature that the version was published with is there still; a key says whether it is right."""
    if not noted.signer:
        return []
    try:
        by = signing.signed_by(folder)
    except OSError as error:
        return [refusal(error, folder / manifests.SIGNATURE_FILE)]
    if not by:
        return [f"{manifests.SIGNATURE_FILE} is missing: the version was signed when it was published"]
    return (
        [] if by == noted.signer else [f"{manifests.SIGNATURE_FILE} was made with another key than signed the version"]
    )
