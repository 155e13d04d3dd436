"""What we ask of the module ``tensorrt`` (10.12 and later, 11) or ``tensorrt_rtx``, whichever is given.

Types only. ``make typecheck-tensorrt`` holds it against stubs of the real bindings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Tensor(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Any: ...


class Layer(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def type(self) -> Any: ...


class Network(Protocol):
    @property
    def num_inputs(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    def get_input(self, index: Any) -> Tensor: ...
    def get_layer(self, index: Any) -> Layer: ...


class ParserError(Protocol):
    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class Parser(Protocol):
    @property
    def num_errors(self) -> int: ...
    def parse_from_file(self, model: str, /) -> bool: ...
    def get_error(self, index: Any) -> ParserError: ...


class Profile(Protocol):
    def set_shape(self, input: Any, min: Any, opt: Any, max: Any) -> None: ...  # noqa: A002 (TensorRT's own names)


class Config(Protocol):
    profiling_verbosity: Any
    hardware_compatibility_level: Any

    def set_flag(self, flag: Any) -> None: ...
    def clear_flag(self, flag: Any) -> None: ...
    def add_optimization_profile(self, profile: Any) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: Any) -> Any: ...
    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> Any: ...


class Builder(Protocol):
    def create_network(self, flags: Any) -> Network: ...
    def create_builder_config(self) -> Config: ...
    def create_optimization_profile(self) -> Profile: ...
    def build_serialized_network(self, network: Any, config: Any) -> Any: ...


class Inspector(Protocol):
    def get_engine_information(self, format: Any) -> str: ...  # noqa: A002


class Engine(Protocol):
    def create_engine_inspector(self) -> Inspector: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, serialized_engine: Any, /) -> Engine | None: ...


class Module(Protocol):
    """The module itself. ``ComputeCapability`` is TensorRT-RTX's alone, and looked for where it is needed."""

    __name__: str
    __version__: str

    @property
    def ILogger(self) -> type: ...  # noqa: N802
    @property
    def Builder(self) -> Callable[[Any], Builder]: ...  # noqa: N802
    @property
    def OnnxParser(self) -> Callable[[Any, Any], Parser]: ...  # noqa: N802
    @property
    def Runtime(self) -> Callable[[Any], Runtime]: ...  # noqa: N802
    @property
    def BuilderFlag(self) -> Any: ...  # noqa: N802
    @property
    def NetworkDefinitionCreationFlag(self) -> Any: ...  # noqa: N802
    @property
    def HardwareCompatibilityLevel(self) -> Any: ...  # noqa: N802
    @property
    def ProfilingVerbosity(self) -> Any: ...  # noqa: N802
    @property
    def LayerInformationFormat(self) -> Any: ...  # noqa: N802
