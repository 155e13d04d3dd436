"""Candidates that a tool of an environment of its own converts: what it is fed, and what it makes, as stages."""

from __future__ import annotations

from pathlib import Path

from .. import toolchains
from ..compile.backends.hummingbird import conversion
from ..compile.backends.hummingbird.conversion import Converted
from ..compile.compile_steps import Fed, FeedRequest
from ..storage.files import sha256_file
from ..worker import Failure, Limits, Sandbox
from .run import CandidateError, Model, Run


def hummingbird(run: Run, model: Model, limits: Limits) -> Path | str:
    """The folder with what Hummingbird made of the lowered forest; or why there is none, in one sentence.
    CandidateError where a step dies."""
    reason = "a net has no trees" if model.signature.is_net else conversion.absent()
    environment = toolchains.find(conversion.TOOLCHAIN)
    if reason or environment is None:
        return f"{conversion.TOOLCHAIN}: {reason}"
    confined = not run.plan.trust

    def fed(folder: Path) -> Fed:
        done = run.executor.run(
            "millwork.compile.compile_steps:feed_hummingbird",
            FeedRequest(lowered=str(model.lowered_program)),
            Fed,
            folder=folder,
            limits=limits,
            sandbox=Sandbox(on=confined),
        )
        if isinstance(done, Failure):
            raise CandidateError(done)
        return done.value

    feed = run.directory.stage("feed-hummingbird", {"lowered": sha256_file(model.lowered_program)}, fed, Fed)
    if feed.value.unsupported:
        return feed.value.unsupported
    fed_file = feed.folder / conversion.FEED_FILE

    def converted(folder: Path) -> Converted:
        done = conversion.convert(fed_file, folder, environment, limits, confined=confined)
        if isinstance(done, Failure):
            raise CandidateError(done)
        return done

    key = {
        "feed": sha256_file(fed_file),
        "script": sha256_file(conversion.SCRIPT),
        "tool": toolchains.named(conversion.TOOLCHAIN).requirements,
    }
    return run.directory.stage("convert-hummingbird", key, converted, Converted).folder
