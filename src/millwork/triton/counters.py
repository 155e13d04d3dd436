"""Triton's production counters: read from its metrics page, or out of Prometheus, which has scraped it.

Counters grow from the server's start on (microseconds, requests, rows), so what counts is the difference of two
readings; gauges (pending, GPU) are as they are. A model of several versions, or a service of several servers, is their
sum, and several GPUs are used as much as they are on average. See Triton's metrics documentation for the names.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from ..errors import UsageError
from ..values import Value

TIMEOUT_S = 10.0
SUBQUERY_STEPS = 240
"""How finely Prometheus looks for the first time that it saw a model."""
COUNTERS = {
    "requests": "nv_inference_request_success",
    "failures": "nv_inference_request_failure",
    "rows": "nv_inference_count",
    "executions": "nv_inference_exec_count",
    "queue_us": "nv_inference_queue_duration_us",
    "input_us": "nv_inference_compute_input_duration_us",
    "infer_us": "nv_inference_compute_infer_duration_us",
    "output_us": "nv_inference_compute_output_duration_us",
}
PENDING = "nv_inference_pending_request_count"
GPU = {"gpu_use": "nv_gpu_utilization", "gpu_used_bytes": "nv_gpu_memory_used_bytes",
       "gpu_bytes": "nv_gpu_memory_total_bytes"}  # fmt: skip
_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})?\s+(?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Counters(Value):
    """One model's. ``pending``: requests that wait now. GPU figures are None where the server reports none."""

    requests: float = 0.0
    failures: float = 0.0
    rows: float = 0.0
    executions: float = 0.0
    queue_us: float = 0.0
    input_us: float = 0.0
    infer_us: float = 0.0
    output_us: float = 0.0
    pending: float = 0.0
    gpu_use: float | None = None
    gpu_used_bytes: float | None = None
    gpu_bytes: float | None = None


class Observed(Value):
    """What a model did in ``seconds``, microseconds a request on average. ``rows_a_call``: of one execution."""

    seconds: float
    requests: float
    failures: float
    rate: float
    rows_a_request: float
    rows_a_call: float
    queue_us: float
    compute_us: float
    pending: float
    gpu_use: float | None = None
    gpu_memory: float | None = None


def read(url: str) -> str:
    """The text of a metrics page; UsageError where there is none."""
    return _get(url).decode("utf-8", "replace")


def parse(text: str, model: str) -> Counters:
    """A metrics page's counters of ``model``; UsageError where it has none of it."""
    sums: dict[str, float] = {}
    gpus = 0
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = dict(_LABEL.findall(found["labels"] or ""))
        if labels.get("model", model) == model and ("model" in labels or found["name"] in GPU.values()):
            sums[found["name"]] = sums.get(found["name"], 0.0) + float(found["value"])
            gpus += found["name"] == GPU["gpu_use"]
    if gpus:
        sums[GPU["gpu_use"]] /= gpus
    return _counters(sums.get, model)


def models(text: str) -> tuple[str, ...]:
    """The models that a metrics page counts requests of."""
    lines = (_LINE.match(line) for line in text.splitlines())
    return tuple(
        sorted(
            {
                dict(_LABEL.findall(line["labels"] or ""))["model"]
                for line in lines
                if line is not None and line["name"] == COUNTERS["requests"]
            }
        )
    )


def between(before: Counters, after: Counters, seconds: float) -> Observed:
    """What happened between two readings; UsageError where nothing did, or the server was restarted."""
    return observed(
        Counters(
            **{name: getattr(after, name) - getattr(before, name) for name in COUNTERS},
            pending=after.pending,
            gpu_use=after.gpu_use,
            gpu_used_bytes=after.gpu_used_bytes,
            gpu_bytes=after.gpu_bytes,
        ),
        seconds,
    )


def observed(grown: Counters, seconds: float) -> Observed:
    """``grown``: by how much the counters grew in ``seconds``."""
    if grown.requests < 0 or grown.executions < 0:
        raise UsageError(
            "the counters went back to lower values: the server was restarted between the two readings", "Try again."
        )
    if not (grown.requests and grown.executions):
        raise UsageError(
            f"no request was answered in {seconds:,.0f} s", "Give a longer time, or measure while the model is in use."
        )
    memory = grown.gpu_used_bytes / grown.gpu_bytes if grown.gpu_used_bytes and grown.gpu_bytes else None
    return Observed(
        seconds=seconds,
        requests=grown.requests,
        failures=grown.failures,
        rate=grown.requests / seconds,
        rows_a_request=grown.rows / grown.requests,
        rows_a_call=grown.rows / grown.executions,
        queue_us=grown.queue_us / grown.requests,
        compute_us=(grown.input_us + grown.infer_us + grown.output_us) / grown.requests,
        pending=grown.pending,
        gpu_use=grown.gpu_use,
        gpu_memory=memory,
    )


def from_prometheus(url: str, model: str, seconds: float) -> Observed:
    """What the last ``seconds`` hold in a Prometheus at ``url``, all its servers of the model together; less, where it
    hasn't seen the model that long."""
    escaped = model.replace("\\", "\\\\").replace('"', '\\"')
    span = f"{seconds:.0f}s"
    step = max(round(seconds / SUBQUERY_STEPS), 1)

    def grown(name: str) -> float | None:
        if name in GPU.values():
            return _query(url, f"avg({name})")
        selected = f'{name}{{model="{escaped}"}}'
        return _query(url, f"sum({selected})" if name == PENDING else f"sum(increase({selected}[{span}]))")

    found = _counters(grown, model)
    first = f'timestamp({COUNTERS["requests"]}{{model="{escaped}"}})'
    seen = _query(url, f"time() - min(min_over_time({first}[{span}:{step}s]))")
    return observed(found, min(seen or seconds, seconds))


def _counters(value: Callable[[str], float | None], model: str) -> Counters:
    if value(COUNTERS["requests"]) is None:
        raise UsageError(
            f"there are no counters of a model called {model!r}",
            "Check that the model is loaded there and has answered requests.",
        )
    counted: dict[str, float] = {field: value(name) or 0.0 for field, name in COUNTERS.items()}
    return Counters(
        **counted,
        pending=value(PENDING) or 0.0,
        gpu_use=value(GPU["gpu_use"]),
        gpu_used_bytes=value(GPU["gpu_used_bytes"]),
        gpu_bytes=value(GPU["gpu_bytes"]),
    )


def _query(url: str, expression: str) -> float | None:
    """One number, or None where Prometheus has no such series."""
    asked = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        found = json.loads(_get(asked))
        results = found["data"]["result"]
        return float(results[0]["value"][1]) if results else None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"--prometheus {url}: this isn't what Prometheus answers to {expression}") from error


def _get(url: str) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url}: expected http://HOST:PORT/…", "Triton's metrics are at http://HOST:8002/metrics.")
    # A proxy for the web is no way to a server in this cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UsageError(f"{url}: {why}", "Triton's metrics are at http://HOST:8002/metrics.") from error
