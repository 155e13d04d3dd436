"""What serves before a publication, by a configuration that names its version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from ....errors import ModelError, PublicationError
from ....triton import config as triton_config
from ... import manifest as manifests
from . import kept, listing, records
from .address import Place
from .listing import Served
from .store import Store

ROUNDS = 200
"""How often others may come first before a publisher gives up."""


def stamp(text: str, version: int | None) -> str:
    """``text`` with a line that no other put of this configuration has."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return triton_config.stamped(text, f"version {version} since {at}, {secrets.token_hex(8)}")


def pinned(store: Store, place: Place) -> Served | None:
    """What serves, by a configuration that names its version: one that says "the latest" would serve what is being
    uploaded, and is first replaced by its twin that doesn't. A model without any, which a server completes by
    itself, is given one that names its highest version: the version's own, or of somebody else's no more than that."""
    for _ in range(ROUNDS):
        now = listing.served_now(store, place)
        if now is None:
            last, text = _last(store, place)
            if last is None:
                return None
            store.create(place.config, stamp(text, last).encode())
            continue
        try:
            pinned = triton_config.pinned(now.text, () if now.version is None else (now.version,))
        except ModelError as error:
            raise PublicationError(
                f"{place.config}: its version_policy can't be rewritten: {error.message}",
                "Give it a version_policy that names the versions (specific), or give another --name.",
            ) from error
        if pinned == now.text:
            return now
        if now.version is None:
            kept.keep(store, place, now)
        store.swap(place.config, stamp(pinned, now.version).encode(), now.tag)
    raise PublicationError(
        f"{place.config}: others changed it, {ROUNDS} times in a row, before it could name what serves",
        "Publish again.",
    )


def _last(store: Store, place: Place) -> tuple[int | None, str]:
    """The highest version that may serve, and a configuration that names it: of ours its own, which somebody
    removed."""
    there = others(store, place)
    for number in reversed(records.numbers(store, place)):
        if there and number < there[-1]:
            break
        held = records.held(store, place, number)
        own = store.read(f"{place.version(number)}/{manifests.CONFIG_FILE}")
        if held is not None and held.record.state == "finished" and own is not None:
            return number, own.content.decode()
    return (there[-1], triton_config.pinned("", (there[-1],))) if there else (None, "")


def others(store: Store, place: Place) -> list[int]:
    """The versions that are there and that millwork knows nothing of, ascending."""
    there = listing.folders(store.sizes(place.model), place)
    known = records.numbers(store, place)  # after it: a publisher reserves its number before it uploads
    return [number for number in there if number not in known]
