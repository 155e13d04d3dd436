"""Configurations that aren't a version's own, kept before they are replaced: an operator's work is never lost.

<state>/<name>/<N>.pbtxt          the one by which version N served last
<state>/<name>/other-<…>.pbtxt    one that served no version
"""

from __future__ import annotations

from collections.abc import Mapping

from ....triton import config as triton_config
from ... import manifest as manifests
from .. import standard
from . import listing
from .address import Place
from .listing import Served
from .records import VersionRecord
from .store import Store


def keep(store: Store, place: Place, now: Served | None, *, withdrawn: bool = False) -> tuple[str, ...]:
    """Keep the configuration that is about to be replaced, and say so where nobody could know of it. ``withdrawn``: the
    version that it serves is given up."""
    if now is None:
        return ()
    text = triton_config.unstamped(now.text).encode()
    if now.version is None or withdrawn:
        if text == (withdrawn and now.version and _own(store, place, now.version)):
            return ()
        key = _other(store, place, text.decode()) or place.other(manifests.sha256_of(text)[:12])
        store.create(key, text)
        return (f"{place.config} served no version: it is replaced, and kept as {place.address.bucket_url}/{key}",)
    last = store.read(place.kept(now.version))
    if last is None:
        if text != _own(store, place, now.version):
            store.create(place.kept(now.version), text)
    elif last.content != text:
        store.swap(place.kept(now.version), text, last.tag)
    return ()


def _other(store: Store, place: Place, text: str) -> str:
    """Where a configuration that served no version is kept already, perhaps as it was before it was pinned to none."""
    for key in store.sizes(place.records):
        if key.startswith(place.other("").removesuffix(".pbtxt")) and (found := store.read(key)) is not None:
            kept = found.content.decode()
            if text in (kept, triton_config.pinned(kept, ())):
                return key
    return ""


def serving(
    store: Store, place: Place, version: int, known: Mapping[int, VersionRecord]
) -> tuple[str | None, tuple[str, ...]]:
    """The configuration that lets ``version`` serve again, and what to say of it: the one that it served by last, or
    its own where that one can't be. None where there is neither."""
    kept, own = store.read(place.kept(version)), _own(store, place, version)
    last = listing.config_before(version, known) if kept is None else kept.content
    if last is None or last == own:
        return None if own is None else own.decode(), ()
    if own is None or version not in known:  # somebody else's: it served by that
        return last.decode(), ()
    if standard.fits(last, place.name):
        return last.decode(), (standard.EDITED.format(version=version),)
    return own.decode(), (standard.NOT_WHOLE.format(version=version),)


def _own(store: Store, place: Place, version: int) -> bytes | None:
    """The version's own config.pbtxt."""
    found = store.read(f"{place.version(version)}/{manifests.CONFIG_FILE}")
    return None if found is None else found.content
