"""Served by Triton's python backend: reads manifest.json beside it, and runs the artifact as it was judged.

All requests of a batch become one call. It needs numpy and the engine that millwork_runner.py imports, no more.

A runner with ``predict_tensors`` works on a GPU: rows that lie there come and go by DLPack, and never leave it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))  # Triton puts it last, behind packages that may have the same names

from millwork_runner import Runner


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        parameters = manifest["parameters"]
        self.numbers = len(manifest["features"]["names"])
        self.categories = len(manifest["features"].get("category_names", ()))
        said = json.loads(args["model_config"]).get("parameters", {})
        threads = said.get("threads", {}).get("string_value", parameters["threads"])
        if args.get("model_instance_kind") == "GPU":
            parameters = {**parameters, "device": args["model_instance_device_id"]}
        self.runner = Runner(folder / manifest["model_file"], parameters, int(threads))
        self._warm_up(folder / manifest.get("golden_file", ""))

    def _warm_up(self, golden: Path) -> None:
        """Answer the golden rows, one and then all: the engine's first calls are slow, and no client is to wait for
        them. config.pbtxt's own warm-up takes the same way as a request, with zeros."""
        if not golden.is_file():
            return
        with np.load(golden) as found:
            parts = [found["x"], found["c"]] if self.categories else [found["x"]]
        if self.categories:
            parts[-1] = _as_sent(parts[-1])
        for rows in ([part[:1] for part in parts], parts):
            self.runner.predict(*rows)

    def execute(self, requests: list[Any]) -> list[Any]:
        on_gpu = [hasattr(self.runner, "predict_tensors") and _lies_on_a_gpu(request) for request in requests]
        if not any(on_gpu):
            return self._from_host(requests)
        there = iter(self._on_gpu([request for request, own in zip(requests, on_gpu, strict=True) if own]))
        rest = [request for request, own in zip(requests, on_gpu, strict=True) if not own]
        here = iter(self._from_host(rest) if rest else [])
        return [next(there if own else here) for own in on_gpu]

    def _on_gpu(self, requests: list[Any]) -> list[Any]:
        """The answers to rows that lie on the GPU, there."""
        try:
            answers = self.runner.predict_tensors([_tensor(request, "input__0") for request in requests])
        except Exception as error:  # noqa: BLE001 -- one bad batch must not end the model's process
            return _failed(requests, error, self._on_gpu)
        return [pb_utils.InferenceResponse([_answer(part)]) for part in answers]

    def _from_host(self, requests: list[Any]) -> list[Any]:
        """The answers to rows that lie in the host's memory."""
        categories = _tensors(requests, "input__1") if self.categories else ()
        numbers = (
            _tensors(requests, "input__0") if self.numbers else [np.zeros((len(c), 0), np.float32) for c in categories]
        )
        try:
            answers = self.runner.predict(*(_one(parts) for parts in (numbers, categories) if parts))
        except Exception as error:  # noqa: BLE001 -- one bad batch must not end the model's process
            return _failed(requests, error, self._from_host)
        parts = np.split(answers, np.cumsum([len(part) for part in numbers])[:-1])
        return [pb_utils.InferenceResponse([_answer(part)]) for part in parts]


def _failed(requests: list[Any], error: Exception, ask: Any) -> list[Any]:
    """A call that failed: each request by itself, so that one client's rows fail nobody else's."""
    if len(requests) > 1:
        return [answer for request in requests for answer in ask([request])]
    failed = pb_utils.TritonError(f"{type(error).__name__}: {error}")
    return [pb_utils.InferenceResponse(error=failed) for _ in requests]


def _answer(part: Any) -> Any:
    """One request's answers, from host memory or by DLPack."""
    if isinstance(part, np.ndarray):
        return pb_utils.Tensor("output__0", np.ascontiguousarray(part))
    return pb_utils.Tensor.from_dlpack("output__0", part)


def _as_sent(categories: Any) -> Any:
    """[N, C] as Triton hands them over: integers as they are, text as bytes. A file that holds text which numpy's own
    type would cut holds it as JSON (storage/texts.py)."""
    if categories.dtype == np.uint8 and categories.ndim == 1:
        shape, words = json.loads(categories.tobytes())
    elif categories.dtype.kind == "U":
        shape, words = categories.shape, categories.ravel().tolist()
    else:
        return categories
    sent = np.empty(len(words), object)
    sent[:] = [word.encode() for word in words]
    return sent.reshape(shape)


def _lies_on_a_gpu(request: Any) -> bool:
    tensor = _tensor(request, "input__0")
    return tensor is not None and not tensor.is_cpu()


def _tensor(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name)


def _tensors(requests: list[Any], name: str) -> list[Any]:
    """One tensor of each request, [rows, columns]."""
    return [_tensor(request, name).as_numpy() for request in requests]


def _one(parts: Any) -> Any:
    """The requests' rows as one array; without a copy where there is one request."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
