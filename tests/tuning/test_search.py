"""The search, on servers that are only arithmetic: it finds the best, stops, keeps its budget, and repeats itself."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from millwork.triton.backend_rows import TRITON_BACKENDS
from millwork.triton.settings import Settings
from millwork.tuning import explain, figures, knobs, scoring, slo
from millwork.tuning.estimate import estimate
from millwork.tuning.figures import Round
from millwork.tuning.knobs import Workload
from millwork.tuning.load.load_steps import ServerTime
from millwork.tuning.load.samples import Samples
from millwork.tuning.search import search
from millwork.tuning.service_times import ServiceTime
from millwork.tuning.trials import SearchProblem, ServedCandidate, TrialError
from millwork.validators import traffic

SERVICE = tuple(ServiceTime(id="m", threads=t, batches=(1, 64), us=(60.0, 1500.0 / t)) for t in (1, 2))
CANDIDATE = ServedCandidate("m", "python", 0, None, SERVICE)


def problem(spec="batch=1 clients=8", limit="", objective="throughput", budget=90.0):
    asked = traffic.parse(spec)
    return SearchProblem(Workload(traffic=asked, cores=2), slo.parse(limit) if limit else slo.Slo(), objective, budget)


def taken(number, latency_us, rows_per_s, seed, spent=1.0):
    """A round of 200 requests around a latency, at a rate; its figures are its own."""
    rng = np.random.default_rng(seed)
    us = (latency_us * rng.lognormal(0, 0.1, 200)).astype(np.float32)
    zero, one = np.zeros(200, np.float32), np.ones(200, np.int32)
    samples = Samples(np.zeros(200), us, one, np.zeros(200, bool), zero, 200 / rows_per_s)
    times = ServerTime(
        queue_us=1, input_us=1, infer_us=1, output_us=1, requests=200, executions=200, rows=1, cpu_us=100
    )
    return Round(number, samples, times, "asyncio", spent)


class World:
    """Rows a second by settings, with the noise of a machine that drifts and stumbles."""

    def __init__(self, rows, latency=lambda _: 1000.0, noise=0.05, broken=()):
        self.rows, self.latency, self.noise, self.broken, self.asked = rows, latency, noise, broken, []

    def measure(self, trial, number):
        self.asked.append((trial.id, number))
        if trial.settings.instances in self.broken:
            raise TrialError("no memory")
        drift = np.exp(0.3 * np.sin(number))
        own = np.random.default_rng(1000 * number + trial.id)
        factor = drift * own.lognormal(0, self.noise) * (0.5 if own.random() < 0.03 else 1)
        return taken(number, self.latency(trial.settings), self.rows(trial.settings) * factor, trial.id + number)


def by_instances(settings: Settings) -> float:
    """Two instances are best here, whatever an estimate thinks; batching is worth half."""
    return 1000.0 * settings.instances * (1.5 if settings.batching else 1.0) / (1 + settings.delay_us / 500)


def test_it_finds_the_best_in_twelve_trials_and_within_its_budget():
    world = World(by_instances)
    found = search(problem(), [CANDIDATE], world.measure)
    best = max(by_instances(s) for s in knobs.space("python", problem().workload))
    assert by_instances(found.ranking[0].settings) >= 0.95 * best
    assert len(found.state.trials) <= 12
    assert found.state.spent_s <= 90
    assert found.state.baseline.settings == knobs.triton_default("python", problem().workload)


def test_what_the_estimate_thinks_least_of_is_tried_too():
    """It takes batching for the best in every form; here two instances without are, and nothing beside them."""
    world = World(lambda s: 1300.0 if s.instances == 2 and not s.batching else 1000.0, noise=0.01)
    found = search(problem(), [CANDIDATE], world.measure)
    assert (found.ranking[0].settings.instances, found.ranking[0].settings.batching) == (2, False)
    first = [trial.settings for trial in found.state.trials if trial.id <= 6]
    assert len({(s.instances, s.threads, s.batching) for s in first}) == len(first)


def test_what_ties_goes_to_the_simpler():
    found = search(problem(), [CANDIDATE], World(lambda _: 1000.0, noise=0.002).measure)
    assert found.ranking[0].settings.instances * found.ranking[0].settings.threads == 1
    assert "noise" in found.why


def test_what_breaks_the_limit_ranks_behind_what_keeps_it():
    """Two instances are faster, and too slow in the tail."""
    world = World(by_instances, latency=lambda s: 9000.0 if s.instances > 1 else 2000.0)
    asked = problem(limit="p99<5ms")
    found = search(asked, [CANDIDATE], world.measure)
    assert found.ranking[0].settings.instances == 1
    assert found.state.over(found.ranking[0])[0] < 1
    none = search(problem(limit="p99<1ms"), [CANDIDATE], world.measure)
    beyond, name = none.state.over(none.ranking[0])
    assert beyond > 1
    assert name == "p99<1ms"
    assert none.ranking[0].settings.instances == 1, "the closest miss"


def test_a_limit_is_no_price_that_speed_can_pay():
    """Twice the throughput, and 3% over the limit; or over the default's p99, where nobody said one."""
    world = World(lambda s: 1000.0 * s.instances, latency=lambda s: 4500.0 if s.instances > 1 else 3500.0, noise=0.01)
    slow = taken(1, 3500.0, 1000.0, 1)
    bound = 1.15 * float(np.quantile(slow.samples.answered, 0.99)) / 1e3
    found = search(problem(limit=f"p99<{bound:.3f}ms"), [CANDIDATE], world.measure)
    assert found.state.over(found.ranking[0])[0] <= 1
    assert found.ranking[0].settings.instances == 1
    assert any(t.settings.instances > 1 and found.state.over(t)[0] < 1.25 for t in found.ranking), "the temptation"
    implied = World(by_instances, latency=lambda s: 1300.0 if s.instances > 1 else 1000.0)
    best = search(problem(), [CANDIDATE], implied.measure).ranking[0]
    assert best.settings.instances == 1


def test_a_limit_of_the_users_is_judged_though_another_is_missed_by_more():
    world = World(by_instances, latency=lambda s: 5000.0 if s.instances > 1 else 1000.0)
    found = search(problem(limit="memory<1MiB"), [CANDIDATE], world.measure, memory=lambda _: 3 << 20)
    double = next(trial for trial in found.ranking if trial.settings.instances > 1)
    assert found.state.over(double)[1] == "p99 no worse than the default's"
    assert found.state.missed(double) == (3.0, "memory<1MiB")


@pytest.mark.parametrize("survivors", [1, 0])
def test_a_trial_that_fails_later_is_out_too(survivors):
    """The best of the first sweep kills the server in the second; or all do, the default too."""
    world = World(by_instances, noise=0.01)
    fine = list(knobs.space("python", problem().workload)[:survivors])

    def measure(trial, number):
        if number > 1 and trial.settings not in fine:
            raise TrialError("it died", spent_s=2.0)
        return world.measure(trial, number)

    found = search(problem(), [CANDIDATE], measure)
    assert [trial.settings for trial in found.ranking[:1]] == fine
    assert found.state.failed
    assert not any(trial.id in found.state.failed for trial in found.ranking)
    assert found.state.spent_s >= 2.0 * len(found.state.failed)


def test_a_budget_that_is_spent_ends_a_sweep():
    found = search(problem(budget=20.0), [CANDIDATE], lambda _, number: taken(number, 1000.0, 1000.0, 1, spent=15.0))
    assert found.state.spent_s <= 20 + 15
    assert found.ranking


def test_what_was_in_no_sweep_with_the_default_cannot_win():
    """The budget ends in the second sweep, which goes backwards, before the default's turn: a slow newcomer has only
    figures that nothing was measured beside."""
    first = len(search(problem(), [CANDIDATE], World(by_instances, noise=0.0).measure).state.trials)

    def measure(trial, number):
        return taken(number, 1000.0, 1000.0 if number == 1 else 900.0, 1, spent=1.0 if number == 1 else 80.0)

    found = search(problem(), [CANDIDATE], measure)
    assert first > len(found.state.rounds)
    assert 1 in [r.number for r in found.state.rounds[found.ranking[0].id]]
    assert 1 not in [r.number for r in found.state.rounds[found.ranking[-1].id]]


def test_a_rate_that_is_not_kept_up_with_breaks_a_limit():
    """An overload of a short round is no long tail yet; in production it would be."""
    start = np.arange(1000) * 1e3
    behind = Samples(
        start,
        (1000 + 0.15 * start).astype(np.float32),
        np.ones(1000, np.int32),
        np.zeros(1000, bool),
        np.zeros(1000, np.float32),
        1.0,
    )
    times = ServerTime(queue_us=1, input_us=1, infer_us=1, output_us=1, requests=1, executions=1, rows=1, cpu_us=1)
    seen = figures.pooled([Round(1, behind, times, "asyncio", 1.0)], (0.99,), None)
    limits = slo.parse("p99<500ms")
    assert seen.p99_us < 500e3
    beyond, name = scoring.over(seen, limits)
    assert (beyond > 1, name) == (True, "the rate")


def test_what_is_hopelessly_over_the_limit_is_not_asked_on():
    """Two instances are twice as fast, and 30% over: one sweep more would tell nothing."""
    world = World(lambda s: 1000.0 * s.instances, latency=lambda s: 4000.0 if s.instances > 1 else 2000.0, noise=0.01)
    found = search(problem(limit="p99<4ms"), [CANDIDATE], world.measure)
    assert found.ranking[0].settings.instances == 1
    asked = {t.id: len(found.state.rounds[t.id]) for t in found.ranking if t.settings.instances > 1}
    assert asked
    assert max(asked.values()) <= 3, asked


def test_a_percentile_takes_so_many_requests():
    assert [scoring.enough(quantile) for quantile in (0.5, 0.99, 0.999)] == [5, 299, 2995]
    asked = problem(limit="p99.9<5ms")
    found = search(asked, [CANDIDATE], World(by_instances).measure)
    text, seen, needed = scoring.unshown(found.state.figures(found.ranking[0]), asked.slo)
    assert (text, needed) == ("p99.9<5ms", 2995)
    assert seen < needed
    assert scoring.unshown(found.state.figures(found.ranking[0]), slo.parse("p90<5ms")) is None


def test_more_clients_than_the_estimate_has_requests():
    found = estimate(Settings(), "python", SERVICE[0], traffic.parse("batch=1 clients=4096"), 2)
    assert found.throughput > 0


def test_rows_that_clients_may_send_already_stay_allowed():
    workload = Workload(traffic=traffic.parse("batch=1 rate=10/s"), cores=2, served=8192)
    assert {s.max_batch for s in knobs.space("python", workload)} == {8192}


def test_the_throughput_of_an_open_loop_is_what_was_answered():
    """1,000 requests in a second: all in time, but for the last ones; or a third of them, the rest after its end."""
    start = np.arange(1000) * 1e3
    zero, one = np.zeros(1000, np.float32), np.ones(1000, np.int32)
    in_time = Samples(start, np.full(1000, 20_000, np.float32), one, zero.astype(bool), zero, 1.0)
    assert figures.rate(in_time) == figures.row_rate(in_time) == 1000
    behind = Samples(start, (2 * start + 1000).astype(np.float32), one, zero.astype(bool), zero, 1.0, unanswered=100)
    assert figures.rate(behind) == pytest.approx(333, abs=2)


def test_one_stall_at_the_end_of_few_requests_is_no_backlog():
    start = np.arange(60) * 50e3
    latency = np.full(60, 1e3, np.float32)
    latency[-3:] = 400e3
    zero, one = np.zeros(60, np.float32), np.ones(60, np.int32)
    assert Samples(start, latency, one, zero.astype(bool), zero, 3.0).kept_up


@pytest.mark.parametrize("latency_ms", [1, 200, 2000])
def test_a_long_latency_is_no_backlog(latency_ms):
    """A heavy model, or a server far away: answers come late, and not ever later."""
    start = np.arange(600) * 1e3
    zero, one = np.zeros(600, np.float32), np.ones(600, np.int32)
    steady = Samples(start, np.full(600, 1e3 * latency_ms, np.float32), one, zero.astype(bool), zero, 0.6)
    assert steady.kept_up
    assert figures.rate(steady) == 1000


def test_a_trial_that_cannot_serve_is_out_and_the_rest_go_on():
    found = search(problem(), [CANDIDATE], World(by_instances, broken=(2,)).measure)
    assert found.ranking
    assert all(trial.settings.instances == 1 for trial in found.ranking)
    assert "no memory" in found.state.failed.values()
    assert search(problem(), [CANDIDATE], World(by_instances, broken=(1, 2)).measure).ranking == ()


def test_the_same_figures_lead_to_the_same_steps():
    one, two = World(by_instances), World(by_instances)
    search(problem(), [CANDIDATE], one.measure)
    search(problem(), [CANDIDATE], two.measure)
    assert one.asked == two.asked


@pytest.mark.parametrize("budget", [5.0, 20.0])
def test_a_small_budget_has_few_trials(budget):
    world = World(by_instances)
    found = search(problem(budget=budget), [CANDIDATE], world.measure)
    assert len(found.state.trials) <= 3
    assert len(world.asked) <= budget + 2 * len(found.state.trials)


def test_what_was_given_up_early_is_not_the_best_by_luck():
    """Every configuration is as good; rounds differ widely. Whoever was in few of them has a wide spread of merit."""
    for seed in range(8):

        def measure(trial, number, seed=seed):
            own = np.random.default_rng([seed, trial.id, number])
            return taken(number, 1000.0, 1000.0 * own.lognormal(0, 0.3), number)

        found = search(problem(budget=60.0), [CANDIDATE], measure)
        rounds = {trial.id: len(found.state.rounds[trial.id]) for trial in found.ranking}
        assert rounds[found.ranking[0].id] >= 3, rounds


def test_one_stumble_does_not_decide():
    mean, error, _ = scoring.trimmed([0.1, 0.1, 0.11, 0.09, 0.1, -3.0])
    assert mean == pytest.approx(0.1, abs=0.01)
    assert error < 0.05


def test_instances_times_threads_stay_within_the_cores():
    workload = Workload(traffic=traffic.parse("batch=1 clients=8"), cores=16)
    for backend in TRITON_BACKENDS:
        assert all(s.instances * s.threads <= 16 for s in knobs.space(backend, workload))
    one_client = Workload(traffic=traffic.parse("batch=1 clients=1"), cores=2)
    assert not any(s.batching for s in knobs.space("python", one_client)), "there is nobody to batch with"


def test_neighbours_come_from_another_knob_each_time():
    """What an estimate can't tell apart is tried in all directions, not in those that come first."""
    workload = Workload(traffic=traffic.parse("batch=1 clients=8"), cores=4)
    space = knobs.space("python", workload)
    start = Settings(instances=1, threads=1, batching=True)
    first = knobs.neighbours(start, tuple(s for s in space if s != start))[:3]
    changed = [(s.instances != 1, s.threads != 1, (s.batching, s.delay_us) != (True, 0)) for s in first]
    assert sorted(changed) == [(False, False, True), (False, True, False), (True, False, False)]


def test_instances_that_wait_cost_the_estimate_nothing():
    """Two instances of a model that takes microseconds don't slow each other where the front end is the limit."""
    quick = ServiceTime(id="m", threads=1, batches=(1, 64), us=(5.0, 60.0))
    asked = traffic.parse("batch=1 clients=8")
    one, two = (estimate(Settings(instances=n, batching=False), "millwork", quick, asked, 2) for n in (1, 2))
    assert two.throughput >= 0.98 * one.throughput
    slow = ServiceTime(id="m", threads=1, batches=(1, 64), us=(5000.0, 300_000.0))
    kept, taken = (estimate(Settings(instances=n, batching=False), "millwork", slow, asked, 2) for n in (2, 8))
    assert taken.throughput <= 1.05 * kept.throughput, "eight that compute on two cores are no faster than two"


def test_gpu_knobs_by_release():
    workload = Workload(traffic=traffic.parse("batch=64 clients=8"), cores=8, kind="gpu")
    old = {name for s in knobs.space("fil", workload) for name in s.own}
    new = {name for s in knobs.space("fil", Workload(workload.traffic, 8, "gpu", release=(25, 9))) for name in s.own}
    assert old == {"transfer_threshold"}
    assert new == {"transfer_threshold", "chunk_size", "layout"}
    assert {s.own["cuda_graphs"] for s in knobs.space("tensorrt", workload)} == {"false", "true"}


def test_the_estimate_knows_what_batching_and_overload_do():
    asked = traffic.parse("batch=1 clients=32")
    alone, together = (
        estimate(Settings(batching=batching), "python", SERVICE[0], asked, 2) for batching in (False, True)
    )
    assert together.throughput > 1.5 * alone.throughput
    idle, drowned = (
        estimate(Settings(batching=False), "python", SERVICE[0], traffic.parse(f"batch=1 rate={rate}/s"), 2)
        for rate in (100, 20_000)
    )
    assert drowned.tail_us > 20 * idle.tail_us


def by_estimate(name, us):
    service = tuple(ServiceTime(id=name, threads=t, batches=(1, 64), us=(us, 20 * us / t)) for t in (1, 2))
    return ServedCandidate(name, "python", 0, None, service)


@pytest.mark.parametrize("budget", [0.5, 20.0, 90.0])
def test_what_the_estimate_ranks_first_is_always_tried(budget):
    """Though it is the last of the candidates, and one round takes longer than there is time."""
    many = [by_estimate("a", 300.0), by_estimate("b", 200.0), by_estimate("c", 20.0)]
    world = World(by_instances)
    found = search(problem(budget=budget), many, lambda *asked: replace(world.measure(*asked), spent_s=2.0))
    first = found.space[0]
    assert first.candidate.id == "c"
    measured = [(t.candidate.id, t.settings) for t in found.state.trials if t.id in found.state.rounds]
    assert (first.candidate.id, first.settings) in measured


@pytest.mark.parametrize("objective", ["throughput", "latency", "cost"])
def test_a_reason_never_says_that_what_was_not_tried_is_expected_to_be_better(objective):
    """Reasons are in the objective's unit. Here one instance without batching is best, whatever the estimate thinks."""
    asked = problem(objective=objective, budget=20.0)
    odd = World(lambda s: 1000.0 / s.instances / (1.5 if s.batching else 1.0), noise=0.01)
    found = search(asked, [CANDIDATE], odd.measure)
    for winner in found.ranking:
        reasons = explain.reasons(found, winner)
        for text in (" ".join(reason.split()) for reason in reasons.values()):
            for times, unit in re.findall(r"wasn't tried: ([\d.]+) times the (.*?) by the queueing estimate", text):
                assert unit == explain.UNITS[objective]
                assert float(times) <= 1 if objective == "throughput" else float(times) >= 1
            assert objective != "cost" or "queueing estimate" not in text
    assert any("wasn't tried" in reason for reason in reasons.values())


def test_it_is_said_what_was_tried_of_what_there_is():
    found = search(problem(budget=20.0), [CANDIDATE], World(by_instances).measure)
    there = {(t.candidate.id, t.settings.words) for t in (*found.space, *found.state.trials)}
    assert f"the best of the {len(found.state.rounds)} of {len(there)} tried" in explain.heading(
        found, found.ranking[0], "Triton"
    )
