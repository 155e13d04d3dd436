"""What serves before a publication, by a configuration that names its version."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from ....errors import ModelError, PublicationError
from ....triton import config as triton_config
from . import listing, records
from .address import Place
from .listing import Served
from .store import Store


def stamp(text: str, version: int | None) -> str:
    """``text`` with a line that no other put of this configuration has."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return triton_config.stamped(text, f"version {version} since {at}, {secrets.token_hex(8)}")


def pinned(store: Store, place: Place) -> Served | None:
    """What serves, by a configuration that names its version: one that says "the latest" would serve what is being
    uploaded, and is first replaced by its twin that doesn't. Somebody else's model without any, which a server
    completes by itself, is given one that names its highest version and no more."""
    while True:
        now = listing.served_now(store, place)
        if now is None:
            there = others(store, place)
            if not there:
                return None
            store.create(place.config, stamp(triton_config.pinned("", (there[-1],)), there[-1]).encode())
            continue
        if now.version is None:
            return now
        try:
            pinned = triton_config.pinned(now.text, (now.version,))
        except ModelError as error:
            raise PublicationError(
                f"{place.config}: its version_policy can't be rewritten: {error.message}",
                "Give it a version_policy that names the versions (specific), or give another --name.",
            ) from error
        if pinned == now.text:
            return now
        store.swap(place.config, stamp(pinned, now.version).encode(), now.tag)


def others(store: Store, place: Place) -> list[int]:
    """The versions that are there and that millwork knows nothing of, ascending."""
    there = listing.folders(store.sizes(place.model), place)
    known = records.numbers(store, place)  # after it: a publisher reserves its number before it uploads
    return [number for number in there if number not in known]
