"""What differs between TensorRT 10, 11 and RTX, on a made-up module that notes what it was told: no GPU ran it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

from millwork.compile.backends.tensorrt import engine
from millwork.compile.backends.tensorrt.engine import EnginePlan, Refused, Settings


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Flag(enum.IntEnum):
    STRONGLY_TYPED, TF32, STRICT_NANS, VERSION_COMPATIBLE = 1, 2, 3, 4


class Logger:
    Severity = Severity


class Fake:
    """The module; ``told`` is what was said to it. ``fails``: the error that the build ends with."""

    ILogger = Logger
    BuilderFlag = NetworkDefinitionCreationFlag = Flag
    HardwareCompatibilityLevel = enum.Enum("HardwareCompatibilityLevel", "NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY")
    ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "DETAILED")

    def __init__(self, version: str, *, knows: bytes = b"", fails: str = "") -> None:
        self.__name__, self.__version__ = "tensorrt", version
        self.told: dict[str, Any] = {"flags": [], "profiles": [], "caches": []}
        self.knows, self.fails = knows, fails

    # builder, network, configuration, parser and profile are all this one object
    def Builder(self, logger: Any) -> Fake:  # noqa: N802
        self.logger = logger
        return self

    def OnnxParser(self, network: Any, logger: Any) -> Fake:  # noqa: N802
        return self

    def create_network(self, flags: int) -> Fake:
        self.told["network"] = flags
        return self

    def create_builder_config(self) -> Fake:
        return self

    create_optimization_profile = create_builder_config
    num_inputs, num_layers, name, shape = 1, 1, "input__0", (-1, 4)
    type = enum.Enum("LayerType", "MATRIX_MULTIPLY").MATRIX_MULTIPLY

    def get_input(self, index: int) -> Fake:
        return self

    get_layer = get_input

    def parse_from_file(self, path: str) -> bool:
        return True

    def set_flag(self, flag: Flag) -> None:
        self.told["flags"].append(flag.name)

    def clear_flag(self, flag: Flag) -> None:
        self.told["flags"].append(f"not {flag.name}")

    def set_shape(self, name: str, *shapes: Any) -> None:
        self.told["profiles"].append(shapes)

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.told["caches"].append(cache)
        return cache in (b"", self.knows)

    def get_timing_cache(self) -> Fake:
        return self

    def serialize(self) -> bytes:
        return b"newer"

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        self.logger.log(Severity.INFO, "Total Activation Memory: 300 bytes")
        self.logger.log(Severity.INFO, "Total Weights Memory: 200 bytes")
        if self.fails:
            self.logger.log(Severity.ERROR, self.fails)
        return None if self.fails else b"plan"


PROFILES = ((1, 1, 1), (2, 8, 16))


@pytest.mark.parametrize(("version", "flags"), [("10.12.0.36", 2), ("10.16.1.11", 2), ("11.4.0.106", 0)])
def test_every_network_is_strongly_typed(version: str, flags: int) -> None:
    """10 has to be told, 11 isn't. TF32 is off: a float32 of ten bits isn't one."""
    api: Any = Fake(version)
    made = engine.build(api, Path("net.onnx"), Settings(profiles=PROFILES))
    assert isinstance(made, EnginePlan)
    assert api.told["network"] == flags
    assert api.told["flags"] == ["not TF32", "STRICT_NANS"]
    assert api.told["profiles"] == [((1, 4), (1, 4), (1, 4)), ((2, 4), (8, 4), (16, 4))]
    assert (made.plan, made.memory, made.timing_cache) == (b"plan", 500, b"newer")


def test_an_older_one_is_refused() -> None:
    api: Any = Fake("10.11.0.33")
    with pytest.raises(engine.VersionError, match=r"TensorRT 10\.11\.0\.33: expected 10\.12 or later"):
        engine.build(api, Path("net.onnx"), Settings(profiles=PROFILES))


def test_compatibility_and_timings_are_as_asked() -> None:
    """Timings of another build or GPU aren't taken, and a new cache is begun."""
    api: Any = Fake("11.4.0.106", knows=b"ours")
    settings = Settings(profiles=PROFILES, hardware="AMPERE_PLUS", version_compatible=True, timing_cache=b"ours")
    engine.build(api, Path("net.onnx"), settings)
    assert "VERSION_COMPATIBLE" in api.told["flags"]
    assert api.hardware_compatibility_level.name == "AMPERE_PLUS"
    assert api.told["caches"] == [b"ours"]
    api = Fake("11.4.0.106", knows=b"ours")
    engine.build(api, Path("net.onnx"), Settings(profiles=PROFILES, timing_cache=b"another's"))
    assert api.told["caches"] == [b"another's", b""]


def test_only_rtx_can_be_told_another_gpu() -> None:
    api: Any = Fake("11.4.0.106")
    made = engine.build(api, Path("net.onnx"), Settings(profiles=PROFILES, capability="8.0"))
    assert isinstance(made, Refused)
    assert "builds only for the GPU that it runs on" in made.problems[0].words


def test_the_builders_last_error_names_the_layer() -> None:
    api: Any = Fake("11.4.0.106", fails="Error Code 1: ([pass.cpp:3: check] Can't do 'input__0'. In compile at /x:1)")
    made = engine.build(api, Path("net.onnx"), Settings(profiles=PROFILES))
    assert isinstance(made, Refused)
    assert made.problems[0].words == "MATRIX_MULTIPLY 'input__0': Can't do 'input__0'."
