"""Looks at a repository all the time, as Triton reads it, and judges a storm once it is over.

A look reads config.pbtxt, and then every file of the version that it names, against the manifest. What is wrong is a
violation if it is wrong again while config.pbtxt is still the same. :func:`judge` holds what commands said against
what was seen and what is there.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from storms.jobs import Ended
from storms.known import SIGNED, Known, sha256
from storms.plan import ROLLBACK, WRONG

from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import Repository
from millwork.errors import MillworkError, PublicationError, UsageError
from millwork.triton import config as triton_config

MISSED = "<missed>"
"""The content of a version that wasn't what is known of any, or couldn't be read."""
ENDS = frozenset({0, 2, 3, 4, 5, 7})
"""Exit codes that are documented, beside those of a signal: see :func:`_documented`."""
IGNORED = re.compile(r"Exception ignored in: .*\nTraceback")
"""What Python says of a library's object that a Ctrl-C found half made."""


@dataclass(frozen=True)
class Change:
    """``version`` served ``name`` in the look that ended at ``at``, another one in the look that began at ``since``."""

    name: str
    version: int | None
    since: float
    at: float


@dataclass
class Seen:
    """What the looks saw. ``contents``: ``NAME/N`` -> the variant that served as version N."""

    looks: int = 0
    unreadable: int = 0
    violations: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Seen:
    said = json.loads(path.read_text())
    return Seen(**{**said, "changes": [Change(**change) for change in said["changes"]]})


class ConfigError(Exception):
    """config.pbtxt isn't one that a version of ours serves by."""


@dataclass
class Watcher:
    """Looks at the models of one repository, one after another."""

    repository: Repository
    known: Known
    seen: Seen = field(default_factory=Seen)
    served: dict[str, tuple[int | None, float]] = field(default_factory=dict)

    def look(self, name: str) -> None:
        """Once, at one model."""
        began = time.monotonic()
        try:
            text = self._config(name)
        except MillworkError:  # the store refused to answer: nothing was seen
            self.seen.unreadable += 1
            return
        version, problem = None, ""
        if text is not None:
            version, problem = self._problem(name, text)
        self.seen.looks += 1
        if problem and text is not None and self._same(name, text):
            again, problem = self._problem(name, text)
            if problem and self._same(name, text):
                told = f"{name}: version {again} serves: {problem}"
                self.seen.violations += [] if told in self.seen.violations else [told]
        self._note(name, version, began)

    def _config(self, name: str) -> str | None:
        """config.pbtxt, None where there is none."""
        try:
            return self.repository.config(name)
        except (UsageError, MillworkError):
            if name in self.repository.models():  # it came meanwhile, or can't be read
                return self.repository.config(name)
            return None

    def _same(self, name: str, text: str) -> bool:
        try:
            return self.repository.config(name) == text
        except MillworkError:
            return False

    def _problem(self, name: str, text: str) -> tuple[int | None, str]:
        """The version that this configuration serves, and what is wrong with it."""
        try:
            version = _version(text)
            with tempfile.TemporaryDirectory(prefix="look-") as scratch:
                folder = self.repository.files(name, version, Path(scratch))
                return version, self._version_problem(name, version, folder, text)
        except ConfigError as error:
            return None, str(error)
        except (MillworkError, OSError) as error:
            if isinstance(error, PublicationError) and "://" in self.repository.url:
                return version, ""  # the store refused to answer, or it was withdrawn while it was read
            return version, f"{type(error).__name__}: {error}"

    def _version_problem(self, name: str, version: int, folder: Path, text: str) -> str:
        manifest = manifests.read_intact(folder)
        if (folder / manifests.CONFIG_FILE).read_text() != triton_config.unstamped(text):
            return "by another version's configuration"
        if name == SIGNED and not (folder / manifests.SIGNATURE_FILE).is_file():
            return "without the signature that all versions of this model have"
        variant = self.known.contents.get(sha256(folder / manifest.model_file), "")
        if not variant:
            return f"{manifest.model_file} is of no model that was ever proved"
        before = self.seen.contents.setdefault(f"{name}/{version}", variant)
        return "" if before == variant else f"this number was {before}'s, and is {variant}'s now"

    def _note(self, name: str, version: int | None, began: float) -> None:
        before = self.served.get(name)
        now = time.monotonic()
        if before is not None and before[0] != version:
            self.seen.changes.append(Change(name, version, before[1], now))
        self.served[name] = (version, began)


def _version(text: str) -> int:
    """The version that config.pbtxt names."""
    try:
        versions = triton_config.parse(text).version_policy.specific.versions
    except MillworkError as error:
        raise ConfigError(f"config.pbtxt can't be read: {error}") from error
    if len(versions) != 1:
        raise ConfigError(f"config.pbtxt names {len(versions)} versions")
    return int(versions[0])


# ── the judgement ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class There:
    """What is there once all is over. ``contents``: ``NAME/N`` -> its variant, of every version that is listed and
    whole; ``noted``: those whose manifest is the one that our notes name; ``signed``: those signed by the key."""

    contents: dict[str, str]
    noted: frozenset[str]
    signed: frozenset[str]


def inventory(repository: Repository, known: Known, signature: Callable[[Path, Path], list[str]]) -> There:
    """Read all of it. ``signature``: what is wrong with a folder's signature, by the public key."""
    contents: dict[str, str] = {}
    noted, signed = set(), set()
    for name in known.names:
        for entry in repository.versions(name):
            one = f"{name}/{entry.version}"
            with tempfile.TemporaryDirectory(prefix="look-") as scratch:
                try:
                    folder = repository.files(name, entry.version, Path(scratch))
                    manifest = manifests.read_intact(folder)
                except MillworkError:
                    contents[one] = MISSED
                    continue
                contents[one] = known.contents.get(sha256(folder / manifest.model_file), MISSED)
                if repository.manifest_sha256(name, entry.version) == manifests.sha256(folder):
                    noted.add(one)
                if name == SIGNED and not signature(folder, known.public):
                    signed.add(one)
    return There(contents, frozenset(noted), frozenset(signed))


def judge(ended: Iterable[Ended], changes: Iterable[Change], there: There) -> list[str]:
    """What was promised and isn't so, a line each."""
    jobs = list(ended)
    found = [f"not an end that is documented: {one.words}" for one in jobs if not _documented(one)]
    found += [f"a wrong version was published: {one.words}" for one in jobs if _published(one) and _wrong(one)]
    claims = [one for one in jobs if _published(one) and not _wrong(one)]
    for claim in claims:
        found += _lost(claim, there)
    found += [f"{one} is there, and is of no model that was ever proved" for one, variant in there.contents.items()
              if variant == MISSED]  # fmt: skip
    by_name: dict[str, list[Ended]] = {}
    for one in jobs:
        by_name.setdefault(one.job.name, []).append(one)
    for change in changes:
        found += _unexplained(change, by_name.get(change.name, []))
    return found


def answered(answers: dict[str, dict[str, int]], contents: dict[str, str]) -> list[str]:
    """``answers``: ``NAME/N``, as the server reported it -> whose answers they were (empty: nobody's) -> how often."""
    found = []
    for reported, whose in sorted(answers.items()):
        right = contents.get(reported)  # None: it was taken back before any look; then any known model's may be right
        for variant, count in whose.items():
            if not variant or (right is not None and variant != right):
                who = variant or "no model that is known"
                found.append(f"{count} requests were answered by {reported} ({right}) as by {who}")
    return found


def _documented(one: Ended) -> bool:
    """128 + N follows only signal N, which a command answers. One dies of it where that is SIGKILL, or where it came
    before the command had begun."""
    doom = one.job.doom
    by_its_signal = bool(doom) and one.code == -doom
    said = IGNORED.sub("", one.said)
    return by_its_signal or ((one.code in ENDS or (doom and one.code == 128 + doom)) and "Traceback" not in said)


def _published(one: Ended) -> bool:
    return one.code == 0 and one.job.kind != ROLLBACK


def _wrong(one: Ended) -> bool:
    return one.job.kind == WRONG


def _lost(claim: Ended, there: There) -> list[str]:
    """A publication that said it was done, and isn't there as it said."""
    if claim.version is None:
        return [f"exit 0, and no version named: {claim.words}"]
    one = f"{claim.job.name}/{claim.version}"
    content = there.contents.get(one)
    if content != claim.job.variant:
        return [f"a claim was lost: {claim.words}; there is {content or 'no such version'}"]
    if one not in there.noted:
        return [f"a claim was lost: {claim.words}; our notes don't know it"]
    if claim.job.name == SIGNED and one not in there.signed:
        return [f"a claim was lost: {claim.words}; it isn't signed by the key"]
    return []


def _unexplained(change: Change, jobs: list[Ended]) -> list[str]:
    """What serves changed though nobody was at it, or fell below what a publication had said without a rollback."""
    if not any(one.began <= change.at and one.ended >= change.since for one in jobs):
        return [f"{change.name}: version {change.version} served from {change.at:.3f} on, and no command was running"]
    version = change.version or 0
    for claim in jobs:
        if not _published(claim) or claim.version is None or claim.version <= version or claim.ended >= change.since:
            continue
        back = (one for one in jobs if one.job.kind == ROLLBACK)
        if not any(one.began <= change.at and one.ended >= claim.began for one in back):
            return [f"version {change.version} served after this, without a rollback: {claim.words}"]
    return []
