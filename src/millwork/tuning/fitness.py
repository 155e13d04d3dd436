"""Does a configuration still fit the traffic that it gets in production? The counters, and the queueing estimate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .. import units
from ..errors import UsageError
from ..triton.counters import Observed
from ..triton.settings import Settings
from ..validators.traffic import Share, Traffic
from ..validators.traffic import parse as parse_traffic
from ..values import Value
from . import knobs
from .estimate import Expected, estimate
from .knobs import Workload
from .service_times import ServiceTime
from .slo import Slo
from .slo import parse as parse_slo

CHANGED = 1.5
"""Times by which a rate or the rows of a request must differ from what was tuned for, to be another traffic."""
WORTH = 1.15
"""Times the proposal's tail by the estimate: a smaller gain isn't worth a change of what serves."""
LONG_QUEUE = 2.0
"""Times its computing that a request waits on average: then the queue is what users feel."""
_HEADING = re.compile(
    r"^#: Tuned on .* for (?P<traffic>.*?)(?:, limit (?P<slo>.*?))?; objective: (?P<objective>\w+)\.$"
)


class TunedFor(Value):
    """What a configuration says that it was tuned for."""

    traffic: Traffic | None = None
    slo: Slo = Slo()
    objective: str = ""


class Fitness(Value):
    """``fits``: nothing better is expected. ``signs``: what the counters say, a sentence each. ``proposal``: the
    settings that the estimate prefers, with both expected tails in microseconds; None where it prefers none."""

    fits: bool
    signs: tuple[str, ...]
    proposal: Settings | None = None
    now_us: float | None = None
    proposed_us: float | None = None


def tuned_for(config: str) -> TunedFor:
    """Out of the heading that tuning writes above a config.pbtxt; nothing where there is none."""
    for line in config.splitlines():
        found = _HEADING.match(line)
        if found is None:
            continue
        try:
            limits = parse_slo(found["slo"]) if found["slo"] else Slo()
        except UsageError:  # somebody's own words
            limits = Slo()
        try:
            return TunedFor(traffic=parse_traffic(found["traffic"]), slo=limits, objective=found["objective"])
        except UsageError:  # a recorded file's name, say
            return TunedFor(slo=limits, objective=found["objective"])
    return TunedFor()


def traffic_of(observed: Observed) -> Traffic:
    """The traffic that was seen: its rate, and requests of the mean size (a mix of the two whole numbers around it)."""
    low = max(math.floor(observed.rows_a_request), 1)
    above = max(observed.rows_a_request - low, 0.0)
    shares = [Share(batch=low, share=1 - above), *([Share(batch=low + 1, share=above)] if above > 0.005 else [])]
    total = sum(share.share for share in shares)
    return Traffic(
        shares=tuple(Share(batch=s.batch, share=s.share / total) for s in shares),
        rate=observed.rate,
        assumed="the counters have only the mean size of a request, not how sizes vary",
    )


def judge(
    observed: Observed, now: Settings, backend: str, service: Sequence[ServiceTime], workload: Workload, was: TunedFor
) -> Fitness:
    """``workload`` has the observed traffic; ``service`` are the published artifact's times, here."""
    signs = [*_signs(observed), *_changed(observed, was)]
    if not service:
        return Fitness(fits=len(signs) == 0, signs=tuple(signs))
    quantile = was.slo.quantile

    def expected(settings: Settings) -> Expected:
        time = min(service, key=lambda s: abs(s.threads - settings.threads))
        return estimate(settings, backend, time, workload.traffic, workload.cores, quantile)

    present = expected(now)
    options = [(expected(settings), settings) for settings in knobs.space(backend, workload)]
    best = min(options, key=lambda pair: (round(math.log(max(pair[0].tail_us, 1.0)), 2), pair[1].simplicity))
    better = present.tail_us > WORTH * best[0].tail_us
    return Fitness(
        fits=not better,
        signs=tuple(signs),
        proposal=best[1] if better else None,
        now_us=present.tail_us,
        proposed_us=best[0].tail_us,
    )


def _signs(observed: Observed) -> list[str]:
    signs: list[str] = []
    if observed.queue_us > LONG_QUEUE * observed.compute_us:
        signs.append(
            f"a request waits {units.duration(observed.queue_us)} in the queue, "
            f"but only {units.duration(observed.compute_us)} are spent computing it"
        )
    if observed.pending > max(observed.rate * 0.1, 10):
        signs.append(f"{observed.pending:,.0f} requests are waiting, more than arrive in a tenth of a second")
    if observed.failures:
        share = observed.failures / (observed.requests + observed.failures)
        signs.append(f"{observed.failures:,.0f} requests failed or were refused ({share:.1%})")
    if observed.gpu_memory is not None and observed.gpu_memory > 0.9:
        signs.append(f"{observed.gpu_memory:.0%} of the GPU's memory is used")
    if observed.gpu_use is not None and observed.gpu_use > 0.9:
        signs.append(f"the GPU is busy {observed.gpu_use:.0%} of the time")
    return signs


def _changed(observed: Observed, was: TunedFor) -> list[str]:
    """How the traffic differs from the one that was tuned for."""
    if was.traffic is None:
        return []
    signs: list[str] = []
    pairs = [("rows a request", was.traffic.rows_a_request, observed.rows_a_request)]
    if was.traffic.rate is not None:
        pairs.append(("requests a second", was.traffic.rate, observed.rate))
    for what, then, now in pairs:
        if max(then, now) > CHANGED * min(then, now):
            signs.append(f"it was tuned for {then:,.3g} {what}, but now there are {now:,.3g}")
    return signs
