"""A typed ONNX graph to an engine: parse, optimization profiles, build, and what the engine says of itself.

The module that does it is given: ``tensorrt`` (10.12 or later, 11) or ``tensorrt_rtx``. What differs between them is in
this file and nowhere else. Every network is strongly typed: the precision is the graph's. TF32 is switched off, since
a graph that says float32 means it, and so are the identities that hide a NaN (STRICT_NANS): trees ask for NaN.

Standard library only: an environment that has TensorRT-RTX and nothing of ours loads this file by its path.
Sources: NVIDIA's TensorRT 10 and 11 Python API reference and migration guide; TensorRT-RTX's own.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .protocol import Config, Module, Network, ParserError

OLDEST = (10, 12)
"""The first TensorRT that needs no precision flag at all: before it, weak typing was the rule."""

RTX = "tensorrt_rtx"
MEMORY = {"activations": "Total Activation Memory: ", "weights": "Total Weights Memory: "}
"""What the builder says of the memory that an engine takes, in bytes; a release that says nothing leaves it unknown."""

MOST_PROBLEMS = 20


class VersionError(RuntimeError):
    """This TensorRT is older than we can use."""


@dataclass(frozen=True)
class Problem:
    """What the parser or the builder can't do: of a node, where they name one."""

    message: str
    node: str = ""
    operator: str = ""

    @property
    def words(self) -> str:
        if not self.node and not self.operator:
            return self.message
        return f"{self.operator or 'operator'} {self.node!r}: {self.message}"


@dataclass(frozen=True)
class Refused:
    """``stage``: ``parse`` or ``build``. At least one problem, the decisive one first."""

    stage: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Settings:
    """How to build. ``profiles``: batch sizes, (smallest, tuned for, largest) of each.

    ``capability``: the GPU to build for, ``8.0``, which only TensorRT-RTX can be told; empty for the one that is here.
    ``hardware``: NONE, AMPERE_PLUS or SAME_COMPUTE_CAPABILITY; ``version_compatible``: for later releases of the same
    major version too. ``timing_cache``: what an earlier build of the same TensorRT on the same GPU left.
    """

    profiles: tuple[tuple[int, int, int], ...]
    capability: str = ""
    hardware: str = "NONE"
    version_compatible: bool = False
    timing_cache: bytes = b""


@dataclass(frozen=True)
class EnginePlan:
    """``plan``: the engine, serialized. ``memory``: bytes it takes on the GPU, for activations and weights, None where
    the builder doesn't say. ``layers``: of the network as it was parsed."""

    plan: bytes
    seconds: float
    layers: int
    memory: int | None = None
    timing_cache: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layer:
    """One layer of a built engine, as its inspector tells it."""

    name: str
    kind: str
    tactic: str = ""
    precision: str = ""


@dataclass
class _Log:
    """What TensorRT said, by severity."""

    errors: list[str] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def require_version(api: Module) -> None:
    """VersionError where ``api`` is a TensorRT that still wants precision as a builder flag."""
    version = tuple(int(part) for part in re.findall(r"\d+", api.__version__)[:2])
    if flavour(api) != RTX and version < OLDEST:
        raise VersionError(
            f"TensorRT {api.__version__}: expected {OLDEST[0]}.{OLDEST[1]} or later, whose networks are strongly typed"
        )


def flavour(api: Module) -> str:
    """``tensorrt`` or ``tensorrt_rtx``."""
    return RTX if api.__name__.startswith(RTX) else "tensorrt"


def capabilities(api: Module) -> tuple[str, ...]:
    """The compute capabilities that TensorRT-RTX builds for without such a GPU: ``8.0`` …; none for TensorRT, which
    builds for the GPU that it runs on."""
    known = getattr(api, "ComputeCapability", None)
    names = () if known is None else tuple(known.__members__)
    numbers = sorted(int(name[2:]) for name in names if re.fullmatch(r"SM\d+", name))
    return tuple(f"{number // 10}.{number % 10}" for number in numbers)


def build(api: Module, onnx: Path, settings: Settings) -> EnginePlan | Refused:
    """The engine of the graph in ``onnx``, or who is to blame. Its inputs' first axis may be the batch (any size);
    every other is fixed. Raises VersionError."""
    require_version(api)
    log, logger = _logger(api)
    builder = api.Builder(logger)
    network = builder.create_network(_network_flags(api))
    refused = _parse(api, network, logger, onnx, log)
    if refused is not None:
        return refused
    config = builder.create_builder_config()
    unfit = _configure(api, config, settings) or _add_profiles(builder, config, network, settings.profiles)
    if unfit is not None:
        return Refused("build", (unfit,))
    started = time.perf_counter()
    with _quiet():
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        return Refused("build", _blamed(log, network))
    return EnginePlan(
        plan=bytes(plan),
        seconds=time.perf_counter() - started,
        layers=network.num_layers,
        memory=_memory(log),
        timing_cache=_timing_cache(api, config),
        warnings=tuple(dict.fromkeys(log.warnings)),
    )


def parse(api: Module, onnx: Path) -> int | Refused:
    """How many layers the graph has for the parser, or every node that it doesn't take. Needs no GPU."""
    require_version(api)
    log, logger = _logger(api)
    network = api.Builder(logger).create_network(_network_flags(api))
    refused = _parse(api, network, logger, onnx, log)
    return network.num_layers if refused is None else refused


def inspect(api: Module, plan: bytes) -> tuple[Layer, ...]:
    """The layers of a built engine, as its inspector has them. Needs the GPU that it is for; RuntimeError where the
    plan can't be read here."""
    log, logger = _logger(api)
    engine = api.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise RuntimeError(_last(log.errors or log.internal))
    text = engine.create_engine_inspector().get_engine_information(api.LayerInformationFormat.JSON)
    return layers_of(text)


def layers_of(text: str) -> tuple[Layer, ...]:
    """The inspector's JSON. With LAYER_NAMES_ONLY a layer is its name, with DETAILED an object."""
    found = []
    for entry in json.loads(text).get("Layers", []):
        if isinstance(entry, str):
            found.append(Layer(name=entry, kind=""))
            continue
        outputs = entry.get("Outputs") or [{}]
        found.append(
            Layer(
                name=entry.get("Name", ""),
                kind=entry.get("LayerType", ""),
                tactic=entry.get("TacticName", ""),
                precision=outputs[0].get("Format/Datatype", "") if isinstance(outputs[0], dict) else "",
            )
        )
    return tuple(found)


# ── parsing ───────────────────────────────────────────────────────────────────────────────────────────────


def _network_flags(api: Module) -> int:
    """From 11 on, and in TensorRT-RTX, every network is strongly typed; 10 has to be told."""
    old = flavour(api) != RTX and int(api.__version__.split(".")[0]) < 11
    return 1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if old else 0


def _parse(api: Module, network: Network, logger: Any, onnx: Path, log: _Log) -> Refused | None:
    parser = api.OnnxParser(network, logger)
    if parser.parse_from_file(str(onnx)):
        return None
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    problems = [_parser_problem(error) for error in errors[:MOST_PROBLEMS]]
    return Refused("parse", tuple(problems) or (Problem(_last(log.errors or log.internal)),))


def _parser_problem(error: ParserError) -> Problem:
    """In words: for an operator that it doesn't know the parser looks for a plugin, and says so; a check that has no
    words of its own says ``false``."""
    said = " ".join(str(error.desc()).split())
    node, operator = str(error.node_name()), str(error.node_operator())
    if operator and ("Plugin not found" in said or said in ("", "false")):
        return Problem("TensorRT has no such operator", node, operator)
    return Problem(said, node, operator)


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────


def _configure(api: Module, config: Config, settings: Settings) -> Problem | None:
    """The settings, put into ``config``; or which of them it doesn't take."""
    config.profiling_verbosity = api.ProfilingVerbosity.DETAILED
    config.clear_flag(api.BuilderFlag.TF32)
    config.set_flag(api.BuilderFlag.STRICT_NANS)
    if flavour(api) == RTX:
        return _target(api, config, settings.capability)
    if settings.capability:
        return Problem("TensorRT builds only for the GPU that it runs on")
    if settings.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    config.hardware_compatibility_level = getattr(api.HardwareCompatibilityLevel, settings.hardware)
    cache = config.create_timing_cache(settings.timing_cache)
    if not config.set_timing_cache(cache, False):  # of another build or GPU: begin a new one
        config.set_timing_cache(config.create_timing_cache(b""), False)
    return None


def _target(api: Any, config: Any, capability: str) -> Problem | None:
    """Tell TensorRT-RTX which GPU to build for."""
    if not capability:
        return None
    if capability not in capabilities(api):
        return Problem(f"TensorRT-RTX doesn't build for compute capability {capability}")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(api.ComputeCapability, f"SM{capability.replace('.', '')}"), 0):
        return Problem(f"TensorRT-RTX doesn't accept compute capability {capability}")
    return None


def _add_profiles(builder: Any, config: Any, network: Any, profiles: Sequence[tuple[int, int, int]]) -> Problem | None:
    """One optimization profile for each triple of batch sizes; none where nothing is free."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    for name, shape in shapes.items():
        if any(size < 0 for size in shape[1:]):
            return Problem(f"input {name!r} is {list(shape)}: only the first axis may vary")
    if not any(shape[:1] == (-1,) for shape in shapes.values()):
        return None
    for batches in profiles:
        profile = builder.create_optimization_profile()
        for name, shape in shapes.items():
            profile.set_shape(name, *((batch, *shape[1:]) if shape[:1] == (-1,) else shape for batch in batches))
        if config.add_optimization_profile(profile) < 0:
            return Problem(f"TensorRT refuses the optimization profile {batches}")
    return None


def _blamed(log: _Log, network: Network) -> tuple[Problem, ...]:
    """Why the build failed: the builder's last error, and the node that it names, where it names one of the graph's."""
    said = _last(log.errors or log.internal)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name and f"'{layer.name}'" in said:
            return (Problem(said, layer.name, getattr(layer.type, "name", "")),)
    return (Problem(said),)


def _timing_cache(api: Module, config: Config) -> bytes:
    """TensorRT-RTX keeps none: it times nothing at build."""
    if flavour(api) == RTX:
        return b""
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def _memory(log: _Log) -> int | None:
    sizes = [
        [int(match.group(1)) for line in log.told if (match := re.match(rf"{re.escape(head)}(\d+) bytes", line))]
        for head in MEMORY.values()
    ]
    return sum(found[-1] for found in sizes) if all(sizes) else None


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────


def _logger(api: Any) -> tuple[_Log, Any]:
    """A logger that keeps what it is told, and prints nothing."""
    kept = _Log()
    severity = api.ILogger.Severity

    class Logger(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level == severity.INTERNAL_ERROR:
                kept.internal.append(message)
            elif level == severity.ERROR:
                kept.errors.append(message)
            elif level == severity.WARNING:
                kept.warnings.append(message)
            elif level == severity.INFO:
                kept.told.append(message)

    return kept, Logger()


def _last(errors: Sequence[str]) -> str:
    """The last error on one line, without the place in TensorRT's own source that it ends with."""
    said = " ".join(errors[-1].split()) if errors else "TensorRT gave no reason"
    inner = re.search(r"\[\w+\.cpp:\d+: \w+\] (.*?)(?: In \w+ at |$)", said)
    return (inner.group(1) if inner else said).strip()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
