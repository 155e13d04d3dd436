"""Ask a model that millwork published, by gRPC or HTTP. Copy it and change it: it needs nothing of millwork.

    pip install numpy 'tritonclient[grpc]'            # by HTTP, numpy alone
    python client.py grpc://127.0.0.1:8001            # ask rows whose answers are known, and compare
    python client.py http://127.0.0.1:8000            # the same by HTTP
    python client.py --curl http://127.0.0.1:8000     # print such a request as a line for a shell

In a program of your own: ``ask(url, rows)``, each row a dict of its features.
"""

from __future__ import annotations

import json
import math
import shlex
import struct
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# ── what the model takes and gives ────────────────────────────────────────────────────────────────────────
MODEL = ""
NUMBERS: tuple[str, ...] = ()
CATEGORIES: tuple[str, ...] = ()
CATEGORY_TYPE = "BYTES"
NO_CATEGORY: str | int | None = None
OUTPUTS: tuple[str, ...] = ()
CLASSES: tuple[str, ...] = ()
MAX_DIFFERENCE = (0.0, 0.0)
ROWS: list[dict[str, Any]] = []
ANSWERS: list[list[float]] = []
# ── how it is asked ───────────────────────────────────────────────────────────────────────────────────────

TIMEOUT_S = 60.0


def ask(url: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """The answers to ``rows``: float32 [rows, outputs]. ``url``: grpc://HOST:PORT or http://HOST:PORT."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme in ("grpc", "grpcs"):
        return ask_grpc(url, rows)
    if scheme in ("http", "https"):
        return ask_http(url, rows)
    raise ValueError(f"{url}: expected grpc://HOST:PORT or http://HOST:PORT")


def tensors(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Any]]:
    """``rows`` as Triton takes them: (name, type, array). A number that is None becomes NaN, which is how missing is
    sent. What the model doesn't take is left out. KeyError where a feature isn't there."""
    sent: list[tuple[str, str, Any]] = []
    if NUMBERS:
        numbers = [[math.nan if row[name] is None else row[name] for name in NUMBERS] for row in rows]
        sent.append(("input__0", "FP32", np.array(numbers, np.float32)))
    if CATEGORIES:
        kind = np.int64 if CATEGORY_TYPE == "INT64" else object
        words = [[_category(name, row[name]) for name in CATEGORIES] for row in rows]
        sent.append(("input__1", CATEGORY_TYPE, np.array(words, kind)))
    return sent


def _category(name: str, value: Any) -> Any:
    if value is None and NO_CATEGORY is None:
        raise ValueError(f"{name} is missing: fill it as you did for training, this model takes no missing category")
    given: Any = NO_CATEGORY if value is None else value
    return int(given) if CATEGORY_TYPE == "INT64" else str(given).encode()


def ask_grpc(url: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """By gRPC, the fastest way."""
    import tritonclient.grpc as grpc

    inputs = []
    for name, kind, values in tensors(rows):
        inputs.append(grpc.InferInput(name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values)
    parts = urllib.parse.urlsplit(url)
    # a proxy for the web (http_proxy) is no way to a server of yours
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.InferenceServerClient(parts.netloc, ssl=parts.scheme == "grpcs", channel_args=options) as client:
        return client.infer(MODEL, inputs, client_timeout=TIMEOUT_S).as_numpy("output__0")


def ask_http(url: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    """By HTTP with Triton's binary extension: a header in JSON, then the bytes of each tensor. No digit is lost, NaN
    can be sent, and large batches are quick."""
    inputs, payload = [], b""
    for name, kind, values in tensors(rows):
        content = _bytes(values) if kind == "BYTES" else values.tobytes()
        size = {"binary_data_size": len(content)}
        inputs.append({"name": name, "shape": list(values.shape), "datatype": kind, "parameters": size})
        payload += content
    wanted = [{"name": "output__0", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    length = "Inference-Header-Content-Length"
    headers = {"Content-Type": "application/octet-stream", length: str(len(head))}
    request = urllib.request.Request(_infer(url), head + payload, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as reply:
            content, until = reply.read(), int(reply.headers[length])
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode(errors="replace")) from error
    answer = json.loads(content[:until])["outputs"][0]
    return np.frombuffer(content[until:], np.float32).reshape(answer["shape"])


def _bytes(values: Any) -> bytes:
    """Texts as Triton takes them: each with its length before it."""
    return b"".join(struct.pack("<I", len(word)) + word for word in values.ravel())


def _infer(url: str) -> str:
    return f"{url.rstrip('/')}/v2/models/{urllib.parse.quote(MODEL, safe='')}/infer"


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """The request in JSON alone, as curl or JavaScript would send it. A missing number is the bare word NaN, which
    Triton reads though it isn't JSON; null isn't read."""
    inputs = []
    for name, kind, values in tensors(rows):
        data = [word.decode() for word in values.ravel()] if kind == "BYTES" else [_plain(v) for v in values.ravel()]
        inputs.append({"name": name, "shape": list(values.shape), "datatype": kind, "data": data})
    return json.dumps({"inputs": inputs})


def _plain(value: Any) -> Any:
    """A number with no more digits than it takes to read the same float32 again."""
    short = float(str(value)) if isinstance(value, np.float32) else int(value)
    return short if isinstance(short, int) or np.float32(short) == value else float(value)


def curl(url: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The same for a shell."""
    words = ("curl", "-s", "--noproxy", "*", "-H", "Content-Type: application/json", "-d", as_json(rows), _infer(url))
    return shlex.join(words)


def agree(got: Any, expected: Any) -> bool:
    """Whether the server answered as the framework did, as far as this version was allowed to differ."""
    absolute, relative = MAX_DIFFERENCE
    return got.shape == expected.shape and np.allclose(got, expected, relative, absolute, equal_nan=True)


def main() -> None:
    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    if options not in ([], ["--curl"]) or len(given) > 1:
        print(__doc__)
        sys.exit(0 if options in (["-h"], ["--help"]) else 2)
    if options:
        print(curl(given[0] if given else "http://127.0.0.1:8000", ROWS[:1]))
        return
    url = given[0] if given else "grpc://127.0.0.1:8001"
    agreed = True
    for row, answer in zip(ROWS, ANSWERS, strict=True):
        try:
            got = ask(url, [row])
        except Exception as error:
            sys.exit(f"{url} gives no answer: {error}")
        agreed = agreed and agree(got, np.array([answer], np.float32))
        print("asked:    ", row)
        print("server:   ", dict(zip(OUTPUTS, map(_plain, got[0]), strict=True)))
        print("framework:", dict(zip(OUTPUTS, answer, strict=True)))
        if CLASSES and len(OUTPUTS) == 1 and np.isfinite(got).all():
            print("class:    ", CLASSES[int(got[0, 0])])
    if not agreed:
        sys.exit("The answers differ. If a newer version of the model serves by now, they should.")
    print(f"{MODEL}: {len(ROWS)} rows are answered as the framework answers them")


if __name__ == "__main__":
    main()
