"""Settings in a Triton configuration: put there, read back, and a comment beside each that says why.

Which parameter a Triton backend takes its threads by, and which settings it alone has, is in :mod:`.backend_rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from ..errors import ModelError
from ..triton_releases import Release
from ..values.contracts import MAX_BATCH
from . import backend_rows
from .settings import Kind, Settings

ModelConfig: TypeAlias = Any
"""``tritonclient.grpc.model_config_pb2.ModelConfig``."""

CUDA_GRAPHS, BUSY_WAIT, ACCELERATOR = "cuda_graphs", "busy_wait_events", "gpu_execution_accelerator"
IN_THE_MESSAGE = frozenset({CUDA_GRAPHS, BUSY_WAIT, ACCELERATOR})
"""Own settings that have a field in the message; all others are parameters of their name."""

WARM_UP, WARM_ROWS = "millwork: ", 64
"""How the names of our warm-up samples begin, and the most rows of one that no setting asks for. Triton makes a request
of each row: 4,096 of them left the python backend's process slower for its first large request than none."""


def put(config: ModelConfig, backend: str, settings: Settings) -> None:
    """Make ``config`` say ``settings``; whatever else it says stays. UsageError for an unknown backend."""
    row = backend_rows.find(backend)
    engine = bool(config.instance_group and config.instance_group[0].profile)  # takes no batch beyond its profiles
    most = min(settings.max_batch, config.max_batch_size) if engine else settings.max_batch
    config.max_batch_size = most
    _put_instances(config, settings)
    _put_batching(config, settings)
    if row.threads:
        config.parameters[row.threads].string_value = str(settings.threads)
    for name in row.own_parameters:
        config.parameters.pop(name, None)
    if config.HasField("optimization"):
        config.optimization.cuda.ClearField("graphs")
        config.optimization.cuda.ClearField("busy_wait_events")  # which sizes a graph is of, the engine says: it stays
        if not config.optimization.cuda.ByteSize():
            config.optimization.ClearField("cuda")
        config.optimization.execution_accelerators.ClearField("gpu_execution_accelerator")
        if not config.optimization.execution_accelerators.ByteSize():
            config.optimization.ClearField("execution_accelerators")
        if not config.optimization.ByteSize():
            config.ClearField("optimization")
    _put_warmup(config, settings)
    for name, value in settings.own.items():
        if name not in IN_THE_MESSAGE:
            config.parameters[name].string_value = value
    if CUDA_GRAPHS in settings.own:
        config.optimization.cuda.graphs = settings.own[CUDA_GRAPHS] == "true"
    if BUSY_WAIT in settings.own:
        config.optimization.cuda.busy_wait_events = settings.own[BUSY_WAIT] == "true"
    if settings.own.get(ACCELERATOR):
        added = config.optimization.execution_accelerators.gpu_execution_accelerator.add()
        added.name = settings.own[ACCELERATOR]


def read(config: ModelConfig, *, default_instances: int = 1) -> Settings:
    """The settings that ``config`` says; what it leaves out is as Triton takes it: no batching, one thread here.
    UsageError for a Triton backend that isn't known."""
    backend = backend_rows.find(str(config.backend))
    groups = list(config.instance_group)
    gpu = bool(groups) and groups[0].kind == groups[0].KIND_GPU
    batching = config.HasField("dynamic_batching")
    dynamic = config.dynamic_batching
    own = {name: config.parameters[name].string_value for name in backend.own_parameters if name in config.parameters}
    if config.optimization.cuda.graphs:
        own[CUDA_GRAPHS] = "true"
    if config.optimization.cuda.busy_wait_events:
        own[BUSY_WAIT] = "true"
    for accelerator in config.optimization.execution_accelerators.gpu_execution_accelerator:
        own[ACCELERATOR] = accelerator.name
    kind: Kind = "gpu" if gpu else "cpu"
    return Settings(
        instances=sum(max(group.count, 1) for group in groups) if groups else default_instances,
        threads=_threads(config, backend.threads),
        batching=batching,
        preferred=tuple(dynamic.preferred_batch_size) if batching else (),
        delay_us=dynamic.max_queue_delay_microseconds if batching else 0,
        max_queue=dynamic.default_queue_policy.max_queue_size if batching else 0,
        timeout_us=dynamic.default_queue_policy.default_timeout_microseconds if batching else 0,
        max_batch=config.max_batch_size or MAX_BATCH,
        kind=kind,
        gpus=tuple(groups[0].gpus) if groups else (),
        own=own,
    )


def carried(settings: Settings, backend: str, parameters: Mapping[str, str], release: Release) -> Settings:
    """``settings`` with what a candidate of ``parameters`` was tuned to in process, where its engine is Triton's own:
    nvForest's ``layout`` and ``chunk_size`` for the fil backend of 25.09 and later, ONNX Runtime's TensorRT provider.
    What the settings say stays."""
    if backend == "onnxruntime" and settings.kind == "gpu" and "Tensorrt" in parameters.get("providers", ""):
        return msgspec.structs.replace(settings, own={ACCELERATOR: "tensorrt", **settings.own})
    if backend != "fil" or settings.kind != "gpu" or release.fil_dialect != "is_classifier":
        return settings
    found = {name: parameters[name] for name in ("chunk_size", "layout") if name in parameters}
    return msgspec.structs.replace(settings, own={**found, **settings.own})


def annotate(text: str, reasons: Mapping[str, str]) -> str:
    """``text`` of protobuf's own format with each of ``reasons`` as a comment above the setting that it is for.

    Keys are paths: ``instance_group.count``, ``dynamic_batching``, ``parameters[threads]``. A setting that the text
    doesn't have gets no comment.
    """
    lines = text.splitlines()
    out: list[str] = []
    open_blocks: list[str] = []
    for number, line in enumerate(lines):
        stripped = line.strip()
        name = re.match(r"[a-z_0-9]+", stripped)
        path = ".".join([*open_blocks, name.group()]) if name else ""
        if path == "parameters" and number + 1 < len(lines):
            key = re.match(r'\s*key: "([^"]*)"', lines[number + 1])
            path = f"parameters[{key[1]}]" if key else path
        if path in reasons:
            indent = line[: len(line) - len(line.lstrip())]
            out += [f"{indent}# {part}" for part in reasons[path].splitlines()]
        out.append(line)
        if stripped.endswith("{") and name:
            open_blocks.append(name.group())
        elif stripped == "}" and open_blocks:
            open_blocks.pop()
    return "\n".join(out) + ("\n" if text.endswith("\n") else "")


def _put_instances(config: ModelConfig, settings: Settings) -> None:
    profiles = [profile for group in config.instance_group[:1] for profile in group.profile]
    config.ClearField("instance_group")
    group = config.instance_group.add(profile=profiles)
    group.count = settings.instances
    group.kind = group.KIND_GPU if settings.kind == "gpu" else group.KIND_CPU
    group.gpus.extend(settings.gpus)


def _put_batching(config: ModelConfig, settings: Settings) -> None:
    config.ClearField("dynamic_batching")
    if not settings.batching:
        return
    config.dynamic_batching.SetInParent()
    config.dynamic_batching.preferred_batch_size.extend(settings.preferred)
    if settings.delay_us:
        config.dynamic_batching.max_queue_delay_microseconds = settings.delay_us
    if settings.max_queue or settings.timeout_us:
        policy = config.dynamic_batching.default_queue_policy
        policy.timeout_action = policy.REJECT
        if settings.max_queue:
            policy.max_queue_size = settings.max_queue
        if settings.timeout_us:
            policy.default_timeout_microseconds = settings.timeout_us


def _put_warmup(config: ModelConfig, settings: Settings) -> None:
    """What each instance answers before the model is ready: calls of one row, of the preferred sizes, and of many rows.
    The first request of a client then finds memory, threads and (python) the way to the other process there.

    Zeros and empty texts: rows of a file would have to lie in a folder that all versions share, and be published, put
    back and signed with each of them. The python backend's model.py answers the golden rows beside it, too."""
    others = [one for one in config.model_warmup if not one.name.startswith(WARM_UP)]
    config.ClearField("model_warmup")
    config.model_warmup.extend(others)
    most = min(config.max_batch_size, WARM_ROWS)
    for rows in sorted({1, *settings.preferred, most} if config.max_batch_size else set()):
        one = config.model_warmup.add(name=f"{WARM_UP}{rows} row{'' if rows == 1 else 's'}", batch_size=rows)
        for given in config.input:
            one.inputs[given.name].data_type = given.data_type
            one.inputs[given.name].dims.extend(given.dims)
            one.inputs[given.name].zero_data = True


def _threads(config: ModelConfig, name: str) -> int:
    if not name or name not in config.parameters:
        return 1
    text = config.parameters[name].string_value
    if not text.isdigit():
        raise ModelError(f"{config.name}: parameter {name} is {text!r}; expected a number of threads")
    return int(text)
