"""Build a typed ONNX graph for a GPU that isn't here. A standalone script: TensorRT-RTX and the standard library only.

    python preflight_script.py REQUEST.json    {"onnx": FILE, "capability": "8.0", "profiles": [[1, 8, 64], …]}

The reply is JSON: ``version`` (TensorRT-RTX's), ``capabilities`` it builds for, ``capability`` it built for (the one
that was asked, or one that stands in where it hasn't that), and ``built`` (seconds, bytes, memory) or ``refused``
(stage, problems); ``layers`` of the graph where it was parsed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def main(request: dict[str, Any]) -> dict[str, Any]:
    import tensorrt_rtx

    engine = _engine()
    known = engine.capabilities(tensorrt_rtx)
    asked = request["capability"]
    capability = asked if asked in known else stand_in(asked, known)
    reply: dict[str, Any] = {
        "version": tensorrt_rtx.__version__,
        "capabilities": known,
        "capability": capability,
        "built": None,
        "refused": None,
        "layers": 0,
    }
    onnx = Path(request["onnx"])
    parsed = engine.parse(tensorrt_rtx, onnx)
    if not isinstance(parsed, int):
        return {**reply, "refused": dataclasses.asdict(parsed)}
    settings = engine.Settings(profiles=tuple(map(tuple, request["profiles"])), capability=capability)
    built = engine.build(tensorrt_rtx, onnx, settings)
    if isinstance(built, engine.Refused):
        return {**reply, "refused": dataclasses.asdict(built), "layers": parsed}
    figures = {"seconds": built.seconds, "bytes": len(built.plan), "memory": built.memory}
    return {**reply, "built": figures, "layers": parsed}


def stand_in(asked: str, known: tuple[str, ...]) -> str:
    """For a GPU that TensorRT-RTX doesn't build for, the nearest below: 8.9 for 9.0. The oldest where none is."""
    number = _number(asked)
    below = [capability for capability in known if _number(capability) <= number]
    return max(below or known[:1], key=_number)


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))


def _engine() -> ModuleType:
    """engine.py, which lies beside this file."""
    name = "millwork_engine"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("engine.py"))
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    reply = main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    os.write(int(os.environ["MILLWORK_REPLY_FD"]), json.dumps(reply).encode())
