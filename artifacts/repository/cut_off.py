"""A publication that isn't finished, in words: somebody is at it, or was killed. Nothing here changes anything."""

from __future__ import annotations

from ...values import Value
from . import ledger as ledgers
from . import transaction as transactions
from .layout import Place
from .lock import holder


class Unfinished(Value):
    """``committed``: config.pbtxt names ``version`` already, which wasn't verified. ``by``: who is at it, as far as
    that can be seen; empty where its publisher is gone. ``before``: the version that served before."""

    version: int
    committed: bool
    by: str = ""
    before: int | None = None

    @property
    def cut_off(self) -> bool:
        return not self.by

    @property
    def words(self) -> str:
        named = "config.pbtxt names it" if self.committed else "config.pbtxt doesn't name it"
        if self.by:
            return f"version {self.version} is being published by {self.by}: {named}, and it isn't verified yet"
        return f"the publication of version {self.version} was cut off: {named}, and it was never verified"

    @property
    def hint(self) -> str:
        """How it ends."""
        if self.by:
            return "Wait until that process ends."
        back = "" if self.before is None else f" (version {self.before} serves again)"
        return (
            "The next publication or rollback ends it. Publish the same again: it is verified; or millwork rollback: "
            f"it is undone{back}."
            if self.committed
            else "The next publication or rollback removes what is left of it."
        )


def found(place: Place) -> Unfinished | None:
    """By the ledger, and by who holds the lock."""
    transaction = ledgers.read(place).transaction
    if transaction is None:
        return None
    return Unfinished(
        version=transaction.version,
        committed=transactions.is_committed(place, transaction),
        by=holder(place),
        before=transaction.before,
    )
