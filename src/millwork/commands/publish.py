"""``publish``: publish what a run, dry or not, has chosen."""

from __future__ import annotations

from pathlib import Path

from ..artifacts.repository import at
from ..artifacts.signing import signer
from ..pipeline import publish as publication
from ..pipeline import serve
from ..progress import Progress
from ..triton import address, control
from ..triton import serving as servers
from .options import PublishOptions


def publish(options: PublishOptions, progress: Progress) -> None:
    """Publish it, verified on the server that is named; what was done is the stage's end. Nothing changes where an
    error is raised."""
    seal = None if options.sign is None else signer(Path(options.sign))
    bundles = serve.chosen(Path(options.run_dir).absolute())
    progress.begin("publish", f"{options.repository}/{bundles[0].name}")
    serving = servers.prepare(address.asked(options), None, progress.detail)
    control.note(serving.url, progress.note, explicit=serving.explicit)
    done, _ = publication.publish(bundles, at(str(options.repository)), serving, progress, seal)
    progress.end(publication.words(done))
