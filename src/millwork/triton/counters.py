"""Triton's production counters: read from its metrics page, or out of Prometheus, which has scraped it.

Counters grow from the server's start on (microseconds, requests, rows), so what counts is the difference of two
readings; gauges (pending, GPU) are as they are. A model of several versions, or a service of several servers, is their
sum, and several GPUs are used as much as they are on average. See Triton's metrics documentation for the names.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import UsageError
from ..values import Value
from .credentials import NONE, Credentials

HEADERS_VARIABLE = "MILLWORK_METRICS_HEADERS"
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


def read(url: str, given: Credentials = NONE) -> str:
    """The text of a metrics page; UsageError where there is none."""
    return _get(url, given).decode("utf-8", "replace")


def parse(text: str, model: str, version: int | None = None) -> Counters:
    """A metrics page's counters of ``model``, of one version or the sum of all; UsageError where it has none of it."""
    sums: dict[str, float] = {}
    gpus = 0
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        labels = dict(_LABEL.findall(found["labels"] or ""))
        if version is not None and labels.get("version", str(version)) != str(version):
            continue
        if labels.get("model", model) == model and ("model" in labels or found["name"] in GPU.values()):
            sums[found["name"]] = sums.get(found["name"], 0.0) + float(found["value"])
            gpus += found["name"] == GPU["gpu_use"]
    if gpus:
        sums[GPU["gpu_use"]] /= gpus
    return _counters(sums.get, model)


def memory(text: str, kind: str) -> tuple[float, float]:
    """Bytes that the server's machine, or of ``gpu`` its GPUs, has and that are used; zeros where the page doesn't
    say."""
    found: dict[str, float] = {}
    for line in filter(None, map(_LINE.match, text.splitlines())):
        found[line["name"]] = found.get(line["name"], 0.0) + float(line["value"])
    names = (f"nv_{kind}_memory_total_bytes", f"nv_{kind}_memory_used_bytes")
    return found.get(names[0], 0.0), found.get(names[1], 0.0)


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


def by_version(text: str, model: str) -> dict[int, float]:
    """The requests that each version of ``model`` has answered, by a metrics page."""
    found: dict[int, float] = {}
    for line in filter(None, (_LINE.match(line) for line in text.splitlines())):
        labels = dict(_LABEL.findall(line["labels"] or ""))
        if (
            line["name"] == COUNTERS["requests"]
            and labels.get("model") == model
            and labels.get("version", "").isdigit()
        ):
            found[int(labels["version"])] = found.get(int(labels["version"]), 0.0) + float(line["value"])
    return found


def require_version(grown: Mapping[int, float], model: str, version: int) -> str:
    """UsageError where the requests that each version answered are all of others than ``version``: one version's
    configuration isn't judged by another's counters. Else a note where others answered some, or nothing."""
    others = {number: requests for number, requests in grown.items() if number != version and requests > 0}
    asked = ", ".join(f"version {number} ({requests:,.0f})" for number, requests in sorted(others.items()))
    if not grown.get(version) and (others or version not in grown):
        there = asked or f"version {', '.join(map(str, sorted(grown)))}, which answered nothing"
        raise UsageError(
            f"{model}: version {version} serves in the repository, and requests were answered by {there}"
            if others
            else f"{model}: version {version} serves in the repository, and the server has {there}",
            "Has the server loaded the version? Judge it once it answers requests.",
        )
    return f"requests of others are left out: {asked}" if others else ""


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


def from_prometheus(
    url: str, model: str, seconds: float, version: int | None = None, given: Credentials = NONE
) -> Observed:
    """What the last ``seconds`` hold in a Prometheus at ``url``, all its servers of the model together; less, where it
    hasn't seen the model, or that version of it, that long."""
    chosen = _selected(model, version)
    span = f"{seconds:.0f}s"
    step = max(round(seconds / SUBQUERY_STEPS), 1)

    def grown(name: str) -> float | None:
        if name in GPU.values():
            return _query(url, f"avg({name})", given)
        selected = f"{name}{chosen}"
        return _query(url, f"sum({selected})" if name == PENDING else f"sum(increase({selected}[{span}]))", given)

    found = _counters(grown, model)
    first = f"timestamp({COUNTERS['requests']}{chosen})"
    seen = _query(url, f"time() - min(min_over_time({first}[{span}:{step}s]))", given)
    return observed(found, min(seen or seconds, seconds))


def grown_in_prometheus(url: str, model: str, seconds: float, given: Credentials = NONE) -> dict[int, float]:
    """The requests that each version of ``model`` answered in the last ``seconds``, all servers together."""
    counter = f"{COUNTERS['requests']}{_selected(model, None)}[{seconds:.0f}s]"
    found = _series(url, f"sum by (version) (increase({counter}))", given)
    return {int(labels["version"]): value for labels, value in found if labels.get("version", "").isdigit()}


def _selected(model: str, version: int | None) -> str:
    escaped = model.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{model="{escaped}"}}' if version is None else f'{{model="{escaped}",version="{version}"}}'


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


def _query(url: str, expression: str, given: Credentials = NONE) -> float | None:
    """One number, or None where Prometheus has no such series."""
    found = _series(url, expression, given)
    return found[0][1] if found else None


def _series(url: str, expression: str, given: Credentials = NONE) -> list[tuple[dict[str, str], float]]:
    """The labels and the value of each series that Prometheus answers with."""
    asked = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        results = json.loads(_get(asked, given))["data"]["result"]
        return [(dict(result["metric"]), float(result["value"][1])) for result in results]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"--prometheus {url}: this isn't what Prometheus answers to {expression}") from error


def _get(url: str, given: Credentials = NONE) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{url}: expected http://HOST:PORT/…", "Triton's metrics are at http://HOST:8002/metrics.")
    try:
        context = ssl.create_default_context(cafile=given.ca or None)
        if given.cert:
            context.load_cert_chain(given.cert, given.key)
        # A proxy for the web is no way to a server in this cluster.
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Stays())
        asked = urllib.request.Request(url, headers=dict(given.headers))  # noqa: S310 -- as above
        with urllib.request.build_opener(*handlers).open(asked, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError, ValueError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, too
        raise UsageError(f"{url}: {why}", _next_step(error)) from error


def _next_step(error: Exception) -> str:
    if isinstance(getattr(error, "reason", error), ssl.SSLError):
        return "--metrics-ca says who vouches for its certificate; yours is given by --metrics-cert and --metrics-key."
    if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403):
        return f"Give its header with --metrics-header, or {HEADERS_VARIABLE} in the environment."
    return "Triton's metrics are at http://HOST:8002/metrics."


class _Stays(urllib.request.HTTPRedirectHandler):
    """Headers go to the server that they were given for, and to no other that it names."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        here, there = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            fp.close()
            raise urllib.error.URLError(f"it sends to another server, {there.scheme}://{there.hostname}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
