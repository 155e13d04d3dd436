"""Where things lie: a model's folders in the repository, and our own state beside it.

    <repository>/<name>/config.pbtxt        which version serves: the commit point
    <repository>/<name>/<N>/                the model's files, manifest.json, config.pbtxt (this version's own)

What is made there is readable as the folder that it goes into says (:mod:`millwork.storage.permissions`).

    <repository>/.<name>.millwork.lock      held by who publishes: in the repository itself, so that it is one lock for
                                            everyone, by whatever mount
    <parent>/.<repository>.millwork/        beside it: Triton takes every folder of the root as a model
        locks/<name>.holder                 who publishes now
        ledger/<name>.json                  what was published, and what is under way
        server.json                         what is known of the server that reads the repository
        staging/<name>/, trash/<name>/      on their way in and out by rename: the same mount

``MILLWORK_STAGING`` names another folder for that state, on the repository's file system. Where nothing can be renamed
from beside the repository into it (it is a mount of its own, as in most containers) or this user can't write there:

    <repository>/.<name>.millwork.json      the ledger
    <repository>/.millwork.json             what is known of the server
    <repository>/<name>/00/                 staging, trash and the holder, while somebody publishes

Tried in each of Triton's control modes: files in the root are no models to it; a folder in the root is one, whatever
its name. In a model's folder ``00`` is no version, and what changes in it is no change of a version: nothing is loaded
again, as it is for ``.millwork`` there. But a name that goes from the root while Triton lists it makes a polling server
drop all its models for a round. So a file in the root is made once, and replaced by rename from elsewhere.

A ledger in the repository is everyone's from then on: :mod:`.ledger`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from ...errors import ModelError, PublicationError, UsageError
from ...storage import permissions
from ...storage.files import broken_link, exists, make_folder, refusal
from ...storage.opening import read_limited
from ...storage.permissions import Access
from ...triton import config as triton_config
from ...values import Value
from ..manifest import CONFIG_FILE
from .names import check_name

LONGEST_CONFIG = 4 << 20
"""Bytes of a config.pbtxt that are read; ours take two thousand."""
STAGING_VARIABLE = "MILLWORK_STAGING"
MEND_LINK = "Let it point at a folder that is there, or remove it."
ELSEWHERE = f"Set {STAGING_VARIABLE} to a writable folder on the repository's file system, outside the repository."
TRIES = 20
"""How often a configuration is read again that was replaced while it was read."""
NOT_YET = b"# millwork is publishing the first version of this model.\nname:\n"
"""Stands where a new model's config.pbtxt will, until its version is there and may serve. Triton can't read it, and so
doesn't guess a configuration."""
WORK = "00"
"""A folder in a model's that Triton takes for no version, nor what is in it for a change of one."""


class Place(Value):
    """One model's place in one repository. ``root`` and ``state`` are absolute, symbolic links followed.
    ``inside``: nothing can be renamed from ``state``, so that we work in the repository itself."""

    root: Path
    name: str
    state: Path
    inside: bool = False

    @property
    def model(self) -> Path:
        return self.root / self.name

    @property
    def config(self) -> Path:
        return self.model / CONFIG_FILE

    @property
    def work(self) -> Path:
        """Our folder in the model's, where we work inside; one that is left is a killed publisher's."""
        return self.model / WORK

    @property
    def staging(self) -> Path:
        return self.work / "staging" if self.inside else self.state / "staging" / self.name

    @property
    def trash(self) -> Path:
        return self.work / "trash" if self.inside else self.state / "trash" / self.name

    @property
    def ledger(self) -> Path:
        """The ledger that is written: in the repository where one is there, or we can't work beside it."""
        own = self.root / f".{self.name}.millwork.json"
        return own if self.inside or exists(own) else self.ledger_beside

    @property
    def ledger_beside(self) -> Path:
        return self.state / "ledger" / f"{self.name}.json"

    @property
    def aside(self) -> Path:
        """Where a new ledger is written before it is renamed: never in the root."""
        return self.work if self.inside else self.ledger_beside.parent

    @property
    def server_notes(self) -> Path:
        own = self.root / ".millwork.json"
        return own if self.inside or exists(own) else self.state / "server.json"

    @property
    def lock(self) -> Path:
        return self.root / f".{self.name}.millwork.lock"

    @property
    def holder(self) -> Path:
        return self.work / "holder" if self.inside else self.state / "locks" / f"{self.name}.holder"

    @property
    def notes_access(self) -> Access:
        """Who may read and write our state: whoever may the repository."""
        return permissions.of(self.root) if self.root.is_dir() else permissions.nearest(self.root)

    @property
    def access(self) -> Access:
        """Who may read and write what is published: whoever may the model's folder, or for a new one the
        repository's."""
        return permissions.of(self.model if self.model.is_dir() else self.root)

    def version(self, number: int) -> Path:
        return self.model / str(number)


def locate(repository: Path, name: str) -> Place:
    """The place of ``name``; makes nothing. :class:`UsageError` for a name or a repository that can't be one."""
    check_name(name)
    try:
        root = repository.resolve()
    except RuntimeError as error:  # links that lead back to themselves
        raise UsageError(broken_link(repository.absolute()) or f"{repository}: {error}", MEND_LINK) from error
    if astray := broken_link(repository.absolute()) or broken_link(root / name):
        raise UsageError(astray, MEND_LINK)
    if chosen := os.environ.get(STAGING_VARIABLE):
        unique = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        chosen = os.path.expanduser(chosen)  # noqa: PTH111 (pathlib's raises for a user who isn't there)
        state = Path(chosen).resolve() / f"{root.name}-{unique}.millwork"
        if state.is_relative_to(root):
            raise UsageError(
                f"{state}: the staging folder is inside the repository {root}, where Triton would take it for a model",
                f"{ELSEWHERE} Unset it where there is none: what Triton ignores in the repository is then used.",
            )
        return Place(root=root, name=name, state=state)
    state = root.parent / f".{root.name}.millwork"
    return Place(root=root, name=name, state=state, inside=_only_inside(root, name, state))


def _only_inside(root: Path, name: str, state: Path) -> bool:
    """Whether nothing can be renamed into the model's folder from ``state``, or the folder that it would be made in."""
    if state.is_relative_to(root):  # the repository is the root of the file system
        return True
    if not exists(root):  # made by us, and then its parent is writable
        return False
    target = root / name if (root / name).is_dir() else root
    beside = state if exists(state) else root.parent
    try:
        return _mount(beside) != _mount(target) or not os.access(beside, os.W_OK | os.X_OK)
    except OSError:
        return True


def _mount(path: Path) -> tuple[int, str]:
    """Its file system, and by which mount: from one mount to another of the same nothing can be renamed either."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        device = os.fstat(descriptor).st_dev
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
                if line.startswith("mnt_id:"):
                    return device, line.split()[1]
        return device, ""
    finally:
        os.close(descriptor)


def of_all(repository: Path) -> Place:
    """The place of no model, for what is noted of the repository as a whole."""
    return locate(repository, "any")


def foresee(repository: Path, name: str) -> None:
    """Raise now what :func:`prepare` would, as far as it shows without making anything: a long run comes between."""
    place = locate(repository, name)
    for folder in (place.root, *place.root.parents):
        try:
            if folder.exists():
                _require_folder(place, folder)
                _require_readable(place)
                if folder == place.root:
                    _require_own_config(place)
                    _require_shareable(place)
                return
        except OSError as error:
            raise PublicationError(*_no_repository(place, error)) from error


def prepare(place: Place) -> None:
    """Make the repository and the state folder where they aren't there; :class:`PublicationError` if they can't
    be, if the repository isn't writable, or if the two are on different file systems.
    """
    try:
        make_folder(place.root, permissions.nearest(place.root))
    except OSError as error:
        raise PublicationError(*_no_repository(place, error)) from error
    _require_folder(place, place.root)
    _require_own_config(place)
    if place.inside:  # begin_work does the rest, under the lock
        return
    try:
        like = place.notes_access
        for part in (place.staging, place.trash, place.ledger_beside, place.holder):
            make_folder(part.parent, like)
            permissions.correct(part.parent, like)
        permissions.correct(place.state, like)
        writable = os.access(place.state, os.W_OK | os.X_OK)
    except OSError as error:
        raise PublicationError(
            f"the staging folder beside the repository can't be made: {refusal(error, place.state)}", ELSEWHERE
        ) from error
    if not writable:
        raise PublicationError(f"{place.state}: the staging folder isn't writable", ELSEWHERE)
    target = place.model if place.model.is_dir() else place.root
    if _mount(target) != _mount(place.state):
        raise PublicationError(
            f"{place.state}: the staging folder is on another file system than {target}, or another mount of it, "
            "so no file can be renamed from it",
            ELSEWHERE,
        )


def begin_work(place: Place) -> None:
    """Make what :func:`prepare` couldn't without the lock. :class:`PublicationError` where it can't be made."""
    if place.inside:
        try:
            make_folder(place.model, permissions.of(place.root))
            make_folder(place.work, place.notes_access)
        except OSError as error:
            raise PublicationError(
                f"the staging folder in the model's can't be made: {refusal(error, place.work)}", ELSEWHERE
            ) from error


def end_work(place: Place) -> None:
    """Take our folder out of the model's, and a model's folder in which nothing is left; what is needed to undo a
    publication that is under way stays."""
    if place.inside:
        for folder in (place.work, place.model):
            with contextlib.suppress(OSError):
                folder.rmdir()


def is_new(place: Place) -> bool:
    """Whether the model has no folder yet, or one with nothing but ours in it."""
    return not place.model.exists() or (place.work.is_dir() and [path.name for path in _entries(place)] == [WORK])


def _require_own_config(place: Place) -> None:
    """PublicationError where config.pbtxt is a link: what it points at is somebody's, who would go on changing it, and
    a publication would put a file in the link's place."""
    if place.config.is_symlink():
        raise PublicationError(
            broken_link(place.config) or f"{place.config}: this is a link to {place.config.readlink()}",
            "Put a copy of the file in its place, or publish under another --name: what a link points at isn't "
            "replaced, and neither is the link.",
        )


def _require_folder(place: Place, folder: Path) -> None:
    """PublicationError where ``folder``, the repository or the nearest above it that is there, can't be written."""
    if not folder.is_dir():
        raise PublicationError(
            f"the repository can't be made: {folder} is a file, not a folder", "Give a folder for --repository."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        what = (
            "the repository isn't writable"
            if folder == place.root
            else "this folder isn't writable, so the repository can't be made in it"
        )
        raise PublicationError(f"{folder}: {what}", "Let this user write there, or give another --repository.")
    if place.model.exists() and not place.model.is_dir():
        raise PublicationError(
            f"{place.model}: expected the model's folder, but there is a file of that name",
            "Move it away, or give another --name.",
        )


def _require_shareable(place: Place) -> None:
    """PublicationError where it shows already that somebody who reads the repository couldn't read what this user
    makes in it."""
    like = place.access
    who = permissions.foreseen(like)
    if who and not _handed_down(place, like):
        raise PublicationError(*unreadable_for(place, who))


def _handed_down(place: Place, like: Access) -> bool:
    """Whether the state folder gives what is made in it the repository's group, as a setgid folder does."""
    if not exists(place.state):
        return False
    state = permissions.of(place.state)
    return state.gid == like.gid and bool(state.mode & 0o2000)


def unreadable_for(place: Place, what: str) -> tuple[str, str]:
    """Message and hint for a version that some who read the repository couldn't read."""
    folder = place.model if place.model.is_dir() else place.root
    return (
        f"{folder}: {what} could read the repository, and not what this user publishes into it",
        "Publish as a member of the folder's group, or let everybody read the folder (chmod o+rx).",
    )


def _require_readable(place: Place) -> None:
    """PublicationError where the model's configuration is one that nobody, Triton included, can read."""
    try:
        served_now(place)
    except ModelError as error:
        raise PublicationError(error.message, error.hint) from error


def _no_repository(place: Place, error: OSError) -> tuple[str, str]:
    return f"the repository can't be made: {refusal(error, place.root)}", "Give a folder for --repository."


def version_folders(place: Place) -> list[int]:
    """The numbers of the model's version folders, ascending."""
    names = (path.name for path in _entries(place) if path.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]*", name))


def highest(place: Place) -> int:
    """The highest number that Triton could take an entry of the model's folder for (``7.tmp`` is 7); 0 if none."""
    numbers = (re.match(r"[0-9]+", path.name) for path in _entries(place))
    return max((int(number.group()) for number in numbers if number), default=0)


def config_bytes(place: Place) -> bytes | None:
    """The model's config.pbtxt as it lies there, or None."""
    try:
        return read_limited(place.config, LONGEST_CONFIG)
    except FileNotFoundError:
        if astray := broken_link(place.config):
            raise ModelError(astray, MEND_LINK.replace("folder", "file")) from None
        return None


def served_now(place: Place) -> int | None:
    """The version that Triton gives a client who names none: the highest that config.pbtxt serves.

    None where there is none. :class:`ModelError` for a config.pbtxt that can't be read.
    """
    content, existing = config_bytes(place), version_folders(place)
    for _ in range(TRIES):  # what it names may have been taken back in between
        again = config_bytes(place)
        if again == content:
            break
        content, existing = again, version_folders(place)
    return max(served_by(place, content or b"", existing), default=None)


def served_by(place: Place, content: bytes, existing: list[int]) -> tuple[int, ...]:
    """The versions that a config.pbtxt of this content serves; :class:`ModelError` names the file."""
    if content == NOT_YET:
        return ()
    try:
        return triton_config.served(content.decode(), existing)
    except (ModelError, UnicodeDecodeError) as error:
        raise ModelError(f"{place.config}: {error}", "Correct the file, or give another --name.") from error


def _entries(place: Place) -> list[Path]:
    return list(place.model.iterdir()) if place.model.is_dir() else []
