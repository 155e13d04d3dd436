"""What is said of a publication that failed, and of what serves now."""

from __future__ import annotations

from .... import interrupts
from ....errors import MillworkError, PublicationError
from . import listing
from .address import Place
from .listing import Served
from .store import Store


def explain(error: BaseException) -> tuple[str, str]:
    """What went wrong, and the next step, for the message to the user."""
    if isinstance(error, MillworkError):
        return error.message, error.hint
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted by {interrupts.name_of(error)}", ""
    return f"{type(error).__name__}: {error}", ""


def still_serves(now: Served | None) -> str:
    """What a client gets, for the end of a message."""
    return (
        f"version {now.version} still serves" if now is not None and now.version else "no version of the model serves"
    )


def nothing_serves(store: Store, place: Place, error: BaseException) -> PublicationError:
    """What to tell where config.pbtxt was not touched."""
    reason, hint = explain(error)
    try:
        serves = still_serves(listing.served_now(store, place))
    except (MillworkError, OSError):
        serves = "what served before still does"
    return PublicationError(f"{place.name}: publishing failed: {reason}; nothing was committed; {serves}", hint)
