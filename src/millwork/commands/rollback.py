"""``rollback``: let an earlier version serve again."""

from __future__ import annotations

from ..artifacts.repository import at
from ..artifacts.repository.terms import NONE, Terms
from ..pipeline import publish as publication
from ..pipeline.plan import expected_of
from ..progress import Progress
from ..triton import address, control, patience
from ..triton import serving as servers
from .options import RollbackOptions


def rollback(options: RollbackOptions, progress: Progress) -> None:
    """Put its configuration back, verified on the server that is named; what was done is the stage's end."""
    verify_s = patience.checked(options.verify_timeout)
    into = at(str(options.repository))
    with publication.telling(into, options.name):
        expected = expected_of(options.expect_version)
        terms = Terms(expected=into.serves(options.name) or NONE if expected is None else expected)
        progress.begin("rollback", f"{options.repository}/{options.name}")
        serving = servers.prepare(address.asked(options), None, progress.detail, verify_s=verify_s)
        control.note(serving.url, progress.note, serving.verify_s, explicit=serving.explicit)
        done = publication.rollback(into, options.name, options.version, serving, progress, terms)
        progress.end(publication.words(done))
