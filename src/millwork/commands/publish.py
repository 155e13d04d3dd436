"""``publish``: publish what a run, dry or not, has chosen."""

from __future__ import annotations

from pathlib import Path

from ..artifacts.repository import at
from ..artifacts.signing import signer
from ..compile.kernel import TRITON_BACKEND
from ..pipeline import our_backend, serve
from ..pipeline import publish as publication
from ..pipeline.plan import terms_of
from ..progress import Progress
from ..triton import address, control
from ..triton import serving as servers
from .options import PublishOptions


def publish(options: PublishOptions, progress: Progress) -> None:
    """Publish it, verified on the server that is named; what was done is the stage's end. Nothing changes where an
    error is raised."""
    seal = None if options.sign is None else signer(Path(options.sign))
    terms = terms_of(options)
    bundles, known = serve.chosen_for(Path(options.run_dir).absolute())
    into = at(str(options.repository))
    progress.begin("publish", f"{options.repository}/{bundles[0].name}")
    serving = servers.prepare(address.asked(options), None, progress.detail)
    control.note(serving.url, progress.note, explicit=serving.explicit)
    serving = our_backend.settled(
        serving,
        [bundle.manifest.triton_backend for bundle in bundles],
        given=options.millwork_backend,
        into=into,
        progress=progress,
        of_run=known,
    )
    if serving.own and not known:  # what the run didn't know, and made a bundle for all the same
        bundles = tuple(sorted(bundles, key=lambda bundle: bundle.manifest.triton_backend != TRITON_BACKEND))
    done, bundle = publication.publish(bundles, into, serving, progress, seal, terms)
    progress.end(publication.words(done))
    if bundle.manifest.served is not None:
        progress.note(bundle.manifest.served.sentence)
