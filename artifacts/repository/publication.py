"""Publish a bundle as the next version of a model in a local Triton repository, or leave everything as it was.

The rules, for one model, under its lock:

- The new version is one more than the highest number that is there or was ever about to serve; a number that was
  rolled back is never given again. (But the first of a new model is, where :class:`NoBackendError` says that no client
  can have been answered by it.)
- A bundle whose content already serves isn't published again: the served version is verified, and returned. But it is
  where it is to be signed, and the served one isn't.
- ``verify`` is called after the commit, and decides: if it raises anything (an interrupt included), the
  configuration before is put back, the new folder removed, ``restored`` called, and :class:`PublicationError` raised.
- A publisher that was killed is seen to by the next one. What config.pbtxt doesn't name yet is undone. What it
  names, but was never verified, is verified now if the same content is published again, and keeps its number;
  otherwise it is undone like a version that failed, since nobody knows that it is right.
- Someone else's model of that name is respected: its folders and files stay, versions count up from its highest, and
  its configuration comes back by a rollback.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ... import interrupts
from ...errors import MillworkError, ModelError, PublicationError
from ...storage.files import FULL, refusal
from ...values import Publication
from .. import manifest as manifests
from ..bundle import Bundle, content_digest
from . import ledger as ledgers
from . import listing, standard
from . import transaction as transactions
from .base import NoBackendError, Restored, Sign, Verify
from .layout import ELSEWHERE, Place, config_bytes, locate, prepare, served_now
from .ledger import Transaction
from .lock import USUAL, Waiting, hold
from .terms import ANY, NOBODY, Incumbent, RefusedError, Terms, UnsignedError, judge, require_expected
from .transaction import Step


def no_step(_: str) -> None:
    """The step callback of everyday use."""


def publish(
    bundle: Bundle,
    repository: Path,
    *,
    verify: Verify | None = None,
    restored: Restored | None = None,
    sign: Sign | None = None,
    terms: Terms = ANY,
    waiting: Waiting = USUAL,
    step: Step = no_step,
) -> Publication:
    """Publish ``bundle``; the module's docstring has the rules.

    ``waiting``: how long for another publisher of the same model. A signal that comes while it is undone waits. Raises
    :class:`UsageError` for a name that can't be one, :class:`PublicationError` for all else; then the version that
    served before still serves.
    """
    place = locate(repository, bundle.name)
    prepare(place)
    with interrupts.undoing(), hold(place, waiting):
        transaction = ledgers.read(place).transaction
        try:
            notes = _judged(place, bundle, transaction, sign, terms)
            version, transaction = _begin(place, bundle, transaction, verify, restored, sign, step)
            if transaction is not None:
                _see_through(place, transaction, verify, step)
        except (RefusedError, UnsignedError):  # nothing was begun
            raise
        except BaseException as error:
            with interrupts.held_back():
                raise _undone(place, transaction, error, restored, step) from error
    return Publication(
        repository=str(place.root),
        name=place.name,
        version=version,
        manifest_sha256=manifests.sha256(place.version(version)),
        verified=verify is not None,
        notes=notes,
    )


def _judged(
    place: Place, bundle: Bundle, transaction: Transaction | None, sign: Sign | None, terms: Terms
) -> tuple[str, ...]:
    """What to say of what the bundle replaces; refused where it may not replace that. ``transaction``: what a killed
    publisher left, before it is undone or seen through."""
    digest = content_digest(bundle.manifest, bundle.config)
    committed = transaction is not None and transactions.is_committed(place, transaction)
    incumbent = _replaced(place, transaction if committed else None)
    if not committed or transaction is None or transaction.digest != digest:
        require_expected(place.name, served_now(place), terms, (config_bytes(place) or b"").decode(errors="replace"))
    if committed and transaction is not None and terms.expected == transaction.version:
        raise RefusedError(
            f"{place.name}: version {transaction.version} serves and was never verified: its publisher was stopped; "
            "nothing was changed",
            "Publish the same again, or roll back. Then run this again.",
        )
    require_expected(place.name, incumbent.version, terms)
    signs = sign is not None
    if incumbent.signed and not signs and not committed and _served_with(place, digest) is not None:
        return ()  # it serves already: nothing is replaced
    notes = judge(incumbent, bundle, terms, signs=signs)
    if incumbent.version is None and config_bytes(place) is not None and not committed:
        return (*notes, f"{place.config} served no version: it is replaced, and kept in our notes ({place.ledger})")
    return notes


def _replaced(place: Place, committed: Transaction | None) -> Incumbent:
    """What serves, or will again once ``committed``, which was never finished, is undone."""
    if committed is None:
        return listing.incumbent(place)
    return NOBODY if committed.before is None else listing.incumbent(place, committed.before)


def settle(place: Place, restored: Restored | None, step: Step = no_step) -> bool:
    """Undo what a killed publisher left under way, under the lock; True if it had been committed."""
    transaction = ledgers.read(place).transaction
    if transaction is None:
        return False
    committed = transactions.undo(place, transaction, step)
    if restored is not None:
        restored(served_now(place))
    return committed


def explain(error: BaseException, place: Place) -> tuple[str, str]:
    """What went wrong, and the next step, for the message to the user."""
    if isinstance(error, MillworkError):
        return error.message, error.hint
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted by {interrupts.name_of(error)}", ""
    if not isinstance(error, OSError):
        return f"{type(error).__name__}: {error}", ""
    if error.errno in FULL:
        return refusal(error, place.root), "Free some space, and publish again."
    if error.errno == errno.EXDEV:
        return refusal(error, place.root), ELSEWHERE
    return refusal(error, place.root), ""


def still_serves(place: Place) -> str:
    """What a client gets now, for the end of a message."""
    try:
        version = served_now(place)
    except (ModelError, OSError):
        return "the version that served before is unchanged"
    return f"version {version} still serves" if version is not None else "no version of the model serves"


def serves_now(place: Place) -> str:
    """The same where it may be what nobody wants."""
    try:
        version = served_now(place)
    except (ModelError, OSError):
        return f"what serves now is what {place.config} says, which can't be read"
    return f"version {version} serves now" if version is not None else "no version of the model serves now"


def _begin(
    place: Place,
    bundle: Bundle,
    transaction: Transaction | None,
    verify: Verify | None,
    restored: Restored | None,
    sign: Sign | None,
    step: Step,
) -> tuple[int, Transaction | None]:
    """The version for the bundle, and its transaction, staged; None where it serves already. ``transaction``: what a
    killed publisher left, or None."""
    ledgers.drop_unfinished(place)
    digest = content_digest(bundle.manifest, bundle.config)
    if transaction is not None and not (
        transaction.digest == digest
        and transactions.is_committed(place, transaction)
        and _signed_as_asked(place, transaction.version, sign)
        and not standard.problems(
            place.version(transaction.version),
            place.name,
            transaction.version,
            transaction.noted,
            inert=True,
            bytecode=True,
        )
    ):
        settle(place, restored, step)
        transaction = None
    if transaction is None:
        transactions.sweep(place)
        same = _served_with(place, digest)
        if same is not None and _signed_as_asked(place, same, sign):
            transactions.mend(place, same)
            if verify is not None:
                verify(same)
            return same, None
        transaction = transactions.stage(place, bundle, digest, step, sign)
    return transaction.version, transaction


def _signed_as_asked(place: Place, version: int, sign: Sign | None) -> bool:
    return sign is None or (place.version(version) / manifests.SIGNATURE_FILE).is_file()


def _see_through(place: Place, transaction: Transaction, verify: Verify | None, step: Step) -> None:
    if not transactions.is_committed(place, transaction):
        transactions.commit(place, transaction, step)
    if verify is not None:
        step("verify")
        verify(transaction.version)
    transactions.finish(place, transaction, step)


def _served_with(place: Place, digest: str) -> int | None:
    """The version that serves now, if its content is the bundle's and is intact."""
    version, config = served_now(place), config_bytes(place)
    if version is None or config is None:
        return None
    folder = place.version(version)
    try:
        same = content_digest(manifests.read(folder), config.decode()) == digest
    except (ModelError, UnicodeDecodeError):
        return None
    noted = ledgers.noted(ledgers.read(place), version)
    told = same and standard.problems(folder, place.name, version, noted, inert=True, bytecode=True)
    return version if same and not told else None


def _undone(
    place: Place, transaction: Transaction | None, error: BaseException, restored: Restored | None, step: Step
) -> PublicationError:
    """Undo what is under way, and say what went wrong. ``transaction``: where the ledger doesn't say, since the
    note that it is finished is what failed."""
    reason, hint = explain(error, place)
    failed = f"{place.name}: publishing failed: {reason}"
    try:
        committed = _undo(place, transaction, step, unseen=isinstance(error, NoBackendError))
    except (OSError, PublicationError) as second:
        why, _ = explain(second, place)
        return PublicationError(
            f"{failed}; the undo failed too: {why}; {serves_now(place)}",
            "Fix that. The next publication or rollback then finishes the undo.",
        )
    if committed and restored is not None:
        try:
            restored(served_now(place))
        except Exception as second:  # noqa: BLE001 -- the caller's own code; the files are right by now
            why, _ = explain(second, place)
            failed += f"; the server couldn't be made to load that version again ({why})"
    return PublicationError(f"{failed}; {still_serves(place)}", hint)


def _undo(place: Place, transaction: Transaction | None, step: Step, *, unseen: bool) -> bool:
    """Undo what is under way, and once more if that fails: a disk that refused one call may take the next."""
    committed = False
    for again in (True, False):
        try:
            transaction = ledgers.read(place).transaction or transaction
            if transaction is not None:
                committed = transactions.is_committed(place, transaction) or committed
                transactions.undo(place, transaction, step, unseen=unseen)
            transactions.remove(place.staging)
            transactions.remove(place.trash)
        except OSError:
            if not again:
                raise
        else:
            break
    return committed
