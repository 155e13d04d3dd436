"""``publish``: publish what a run, dry or not, has chosen. The run's folder is data, which anybody may have made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..artifacts.bundle import Bundle
from ..artifacts.renewed import changed_code, renewed
from ..artifacts.repository import at
from ..artifacts.signing import signer
from ..compile.kernel import TRITON_BACKEND
from ..pipeline import our_backend, proof, rehearsal, run_record, serve
from ..pipeline import publish as publication
from ..pipeline.plan import terms_of
from ..pipeline.publish import Rehearsal
from ..progress import Progress
from ..storage import scratch
from ..triton import address, control, patience
from ..triton import serving as servers
from ..validators import tolerance
from .options import PublishOptions


def publish(options: PublishOptions, progress: Progress) -> None:
    """Publish it, verified on the server that is named; what was done is the stage's end. Nothing changes where an
    error is raised."""
    if options.tolerance is not None:
        tolerance.parse(options.tolerance)
    seal = None if options.sign is None else signer(Path(options.sign))
    terms, verify_s = terms_of(options), patience.checked(options.verify_timeout)
    run_dir = Path(options.run_dir).absolute()
    bundles, known = serve.chosen_for(run_dir)
    record = run_record.read(run_dir)
    proof.require_verdict(run_dir, record, bundles)
    into = at(str(options.repository))
    with publication.telling(into, bundles[0].name):
        serving = servers.prepare(address.asked(options), None, progress.detail, verify_s=verify_s)
        control.note(serving.url, progress.note, serving.verify_s, explicit=serving.explicit)
        rehearsal.require_sense(serving, on_server=options.rehearse_on_server)
        serving = our_backend.settled(
            serving,
            [bundle.manifest.triton_backend for bundle in bundles],
            given=options.millwork_backend,
            into=into,
            progress=progress,
            of_run=known,
        )
        needs = max((line.memory_bytes or 0 for line in record.candidates if line.status == "passed"), default=0)
        asked = Rehearsal(asked=rehearsal.Asked(on_server=options.rehearse_on_server, needs=needs))
        with scratch.folder("publish") as own:
            written = [_renewed(bundle, own / f"bundle-{i}", progress) for i, bundle in enumerate(bundles)]
            evidence = proof.Source(
                Path(options.model or record.model_file).absolute(), options.tolerance, named=options.model is not None
            )
            proof.again(written, evidence, own / "proof", progress)
            progress.begin("publish", f"{options.repository}/{written[0].name}")
            ordered = _ordered(written, own_is_news=bool(serving.own) and not known)
            done, bundle = publication.publish(ordered, into, serving, progress, seal, terms, asked)
        progress.end(publication.words(done))
        if bundle.manifest.served is not None:
            progress.note(bundle.manifest.served.sentence)


def _ordered(bundles: Sequence[Bundle], *, own_is_news: bool) -> list[Bundle]:
    """As the run had them; those for our Triton backend first where the run didn't know that the server has it."""
    return sorted(bundles, key=lambda bundle: own_is_news and bundle.manifest.triton_backend != TRITON_BACKEND)


def _renewed(bundle: Bundle, folder: Path, progress: Progress) -> Bundle:
    """The bundle with what a server would run of it written anew, and a note of what that changed."""
    again = renewed(bundle, folder)
    if changed := changed_code(bundle, again):
        progress.note(f"{', '.join(changed)} of the run directory isn't this millwork's: this millwork's is published")
    return again
