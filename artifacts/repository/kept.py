"""Configurations that aren't a version's own, kept before they are replaced: an operator's work is never lost."""

from __future__ import annotations

import msgspec

from ...errors import ModelError
from ...storage.opening import read_limited
from ...triton import config as triton_config
from ..manifest import CONFIG_FILE
from . import standard
from .layout import LONGEST_CONFIG, Place, config_bytes
from .ledger import Ledger, Transaction


def own(place: Place, version: int) -> bytes | None:
    """The version's own config.pbtxt; None where it has none."""
    path = place.version(version) / CONFIG_FILE
    return read_limited(path, LONGEST_CONFIG) if path.is_file() else None


def keeping(ledger: Ledger, place: Place, version: int | None, text: bytes | None) -> Ledger:
    """With the ``text`` by which ``version`` serves, where that isn't its own; ``version``: None where it serves
    none."""
    if text is None:
        return ledger
    if version is None:
        return msgspec.structs.replace(ledger, others=tuple(dict.fromkeys((*ledger.others, text))))
    kept = {number: one for number, one in ledger.kept.items() if number != version}
    if text != own(place, version):
        kept[version] = _pinned(text, version)
    return msgspec.structs.replace(ledger, kept=kept)


def edited(ledger: Ledger, place: Place, transaction: Transaction) -> Ledger:
    """With config.pbtxt, where somebody has edited it since ``transaction`` was committed, which is to be undone."""
    text = config_bytes(place)
    if text is None or text == own(place, transaction.version):
        return ledger
    return keeping(ledger, place, None, text)


def serving(ledger: Ledger, place: Place, version: int) -> tuple[bytes | None, tuple[str, ...]]:
    """The configuration that lets ``version`` serve again, and what to say of it: the one that it served by last, or
    its own where that one can't be. None where there is neither."""
    last, mine = ledger.kept.get(version), own(place, version)
    if last is None:
        return mine, ()
    if mine is None or version not in ledger.manifests:  # somebody else's: it served by that
        return last, ()
    if standard.fits(last, place.name):
        return last, (standard.EDITED.format(version=version),)
    return mine, (standard.NOT_WHOLE.format(version=version),)


def _pinned(text: bytes, version: int) -> bytes:
    """By which that version serves, and no later one."""
    try:
        return triton_config.pinned(text.decode(), (version,)).encode()
    except (ModelError, UnicodeDecodeError):
        return text
