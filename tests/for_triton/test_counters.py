"""Production counters: a page of Triton's metrics, Prometheus's answers, and what a configuration is judged by."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from millwork.cli import retune
from millwork.commands import retune as retune_command
from millwork.errors import UsageError
from millwork.triton import counters
from millwork.triton.counters import Observed
from millwork.triton.settings import Settings
from millwork.tuning import fitness
from millwork.tuning.knobs import Workload
from millwork.tuning.service_times import ServiceTime
from millwork.validators import traffic

PAGE = """# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="delays",version="1"} 100
nv_inference_request_success{model="delays",version="2"} 900
nv_inference_request_success{model="other",version="1"} 7
nv_inference_request_failure{model="delays",reason="REJECTED",version="1"} 0
nv_inference_count{model="delays",version="2"} 4000
nv_inference_exec_count{model="delays",version="2"} 250
nv_inference_queue_duration_us{model="delays",version="2"} 2000000
nv_inference_compute_input_duration_us{model="delays",version="2"} 10000
nv_inference_compute_infer_duration_us{model="delays",version="2"} 480000
nv_inference_compute_output_duration_us{model="delays",version="2"} 10000
nv_inference_pending_request_count{model="delays",version="2"} 12
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.95
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 8.0e9
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 16e9
"""


def seen(**changes: float) -> Observed:
    usual = {
        "seconds": 10.0,
        "requests": 1000.0,
        "failures": 0.0,
        "rate": 100.0,
        "rows_a_request": 1.0,
        "rows_a_call": 1.0,
        "queue_us": 10.0,
        "compute_us": 200.0,
        "pending": 0.0,
    }
    return Observed(**{**usual, **changes})


def test_a_page_is_the_sum_over_versions() -> None:
    found = counters.parse(PAGE, "delays")
    assert (found.requests, found.rows, found.executions, found.pending) == (1000, 4000, 250, 12)
    assert (found.gpu_use, found.gpu_used_bytes) == (0.95, 8e9)
    assert counters.models(PAGE) == ("delays", "other")
    with pytest.raises(UsageError, match="no counters of a model called 'nothing'"):
        counters.parse(PAGE, "nothing")


def test_several_gpus_are_used_as_much_as_on_average() -> None:
    found = counters.parse(PAGE + 'nv_gpu_utilization{gpu_uuid="GPU-2"} 0.15\n', "delays")
    assert found.gpu_use == pytest.approx(0.55)


def test_what_happened_between_two_readings() -> None:
    after = counters.parse(PAGE, "delays")
    before = counters.Counters(
        requests=500, rows=2000, executions=125, queue_us=1e6, infer_us=230_000, input_us=10_000, output_us=10_000
    )
    found = counters.between(before, after, 10.0)
    assert (found.rate, found.rows_a_request, found.rows_a_call) == (50, 4, 16)
    assert (found.queue_us, found.compute_us) == (2000, 500)
    assert found.gpu_memory == pytest.approx(0.5)
    with pytest.raises(UsageError, match="restarted"):
        counters.between(after, before, 10.0)
    with pytest.raises(UsageError, match=r"no request was answered in 10 s"):
        counters.between(after, after, 10.0)


def test_a_version_is_counted_by_itself() -> None:
    assert counters.by_version(PAGE, "delays") == {1: 100, 2: 900}
    found = counters.parse(PAGE, "delays", 2)
    assert (found.requests, found.rows, found.gpu_use) == (900, 4000, 0.95)
    assert counters.parse(PAGE, "delays", 1).requests == 100


@pytest.mark.parametrize(
    ("grown", "said"),
    [
        ({2: 120.0}, ""),
        ({1: 0.0, 2: 120.0}, ""),
        ({1: 30.0, 2: 120.0}, "requests of others are left out: version 1 (30)"),
        ({2: 0.0}, ""),  # nothing was answered, which is said as such
    ],
)
def test_others_requests_beside_the_version_s_own(grown: dict[int, float], said: str) -> None:
    assert counters.require_version(grown, "churn", 2) == said


@pytest.mark.parametrize(
    ("grown", "why"),
    [
        ({1: 120.0}, r"version 2 serves in the repository, and requests were answered by version 1 \(120\)"),
        ({1: 120.0, 2: 0.0}, r"requests were answered by version 1 \(120\)"),
        ({1: 0.0}, "the server has version 1, which answered nothing"),
    ],
)
def test_one_version_is_not_judged_by_another_s_counters(grown: dict[int, float], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        counters.require_version(grown, "churn", 2)


@pytest.fixture
def prometheus() -> Iterator[str]:
    """What it answers to a query, and no more: half of what the counters hold, grown in the time asked for, and that it
    has seen the model for 900 seconds. (A real one: tests/commands/test_retune.py.)"""
    values = {
        line.split("{")[0]: float(line.split()[-1]) / 2
        for line in PAGE.splitlines()
        if 'version="2"' in line or "nv_gpu" in line
    }

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)["query"][0]
            known = [name for name in values if name in query and ("delays" in query or "gpu" in name)]
            value = 900 if "timestamp" in query else values[known[0]] if known else None
            result = [] if value is None else [{"metric": {}, "value": [1.0, str(value)]}]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_prometheus_is_asked_for_the_growth(prometheus: str) -> None:
    assert counters.from_prometheus(prometheus, "delays", 600).rate == pytest.approx(450 / 600)
    found = counters.from_prometheus(prometheus, "delays", 3600)
    assert (found.seconds, found.rate) == (900, pytest.approx(450 / 900))
    assert (found.rows_a_request, found.rows_a_call) == (pytest.approx(2000 / 450), 16)
    with pytest.raises(UsageError, match="no counters of a model called 'absent'"):
        counters.from_prometheus(prometheus, "absent", 3600)


@pytest.mark.parametrize("url", ["ftp://host/metrics", "host:8002", "http://127.0.0.1:1/metrics"])
def test_a_page_that_is_not_there(url: str) -> None:
    with pytest.raises(UsageError, match="8002/metrics"):
        counters.read(url)


# ── does it still fit? ────────────────────────────────────────────────────────────────────────────────────

SERVICE = tuple(
    ServiceTime(id="m", threads=threads, batches=(1, 64), us=(100.0, 1000.0 / threads)) for threads in (1, 2)
)


def judged(observed: Observed, now: Settings, config: str = "") -> fitness.Fitness:
    workload = Workload(traffic=fitness.traffic_of(observed), cores=2)
    return fitness.judge(observed, now, "millwork", SERVICE, workload, fitness.tuned_for(config))


def test_what_keeps_up_fits() -> None:
    found = judged(seen(), Settings(batching=False))
    assert found.fits
    assert found.proposal is None
    assert found.signs == ()


def test_what_drowns_is_told_and_something_else_proposed() -> None:
    """7,500 requests a second of 100 us each are more than one instance answers one by one: batches would do."""
    found = judged(seen(rate=7500, queue_us=9000, pending=2000, failures=10), Settings(batching=False))
    assert not found.fits
    assert found.proposal is not None
    assert found.proposal.batching
    assert found.now_us is not None
    assert found.proposed_us is not None
    assert found.now_us > 2 * found.proposed_us
    words = " ".join(found.signs)
    assert "waits 9.00 ms in the queue" in words
    assert "2,000 requests are waiting" in words
    assert "10 requests failed" in words


def test_another_traffic_than_was_tuned_for_is_told() -> None:
    heading = "#: Tuned on Triton 2.51.0 for batch=64 rate=20/s, limit p99<5ms; objective: latency.\n"
    was = fitness.tuned_for(f'# ours\n{heading}name: "m"')
    assert was.traffic == traffic.parse("batch=64 rate=20/s")
    assert (was.slo.words, was.objective) == ("p99<5ms", "latency")
    found = judged(seen(), Settings(batching=False), heading)
    assert any("it was tuned for 64 rows a request, but now there are 1" in sign for sign in found.signs)
    assert any("it was tuned for 20 requests a second, but now there are 100" in sign for sign in found.signs)
    assert fitness.tuned_for('name: "m"') == fitness.TunedFor()
    recorded = heading.replace("batch=64 rate=20/s", "requests.csv (20 requests/s, 64 rows each)")
    was = fitness.tuned_for(f'# ours\n{recorded}name: "m"')
    assert (was.traffic, was.slo.words, was.objective) == (None, "p99<5ms", "latency")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fitness.Fitness(fits=True, signs=()), "the configuration fits"),
        (fitness.Fitness(fits=True, signs=("a sign",)), "no other configuration is expected to do better"),
        (fitness.Fitness(fits=False, signs=("a sign",)), "can't be estimated here"),
    ],
)
def test_retune_says_what_it_found(found: fitness.Fitness, said: str) -> None:
    told = retune._said(retune_command.Retuned(name="m", observed=seen(), now="1 instance", fitness=found))
    assert said in told[-1]
    assert len(told) == 2 + len(found.signs)


def test_the_traffic_that_was_seen_has_its_mean_size() -> None:
    found = fitness.traffic_of(seen(rows_a_request=2.25))
    assert found.rows_a_request == pytest.approx(2.25)
    assert found.batches == (2, 3)
    assert fitness.traffic_of(seen()).batches == (1,)
