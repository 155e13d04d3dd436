"""config.pbtxt, against golden files that were read by eye, and by what Triton makes of a version policy."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from millwork import __version__
from millwork.errors import ModelError, UsageError
from millwork.triton import config as triton_config
from millwork.triton.config import ConfigRequest, differing, render, settings_of, with_settings
from millwork.triton.settings import Kind, Settings
from millwork.triton_releases import find
from millwork.values import OutputContract
from millwork.values.tensorrt_plan import PlanFacts

GOLDEN = Path(__file__).parent / "golden"

BINARY = OutputContract(kind="probability", task="binary", labels=("0", "1"), threshold=0.25)
THREE = OutputContract(kind="probability", task="multiclass", labels=("a", "b", "c"))
MARGIN = OutputContract(kind="margin", task="binary", labels=("margin",))
VALUE = OutputContract(kind="value", task="regression", labels=("y",))


def request(backend: str, release: str = "24.10", output: OutputContract = BINARY) -> ConfigRequest:
    files: dict[str, str] = {
        "onnxruntime": "model.onnx",
        "fil": "checkpoint.tl",
        "python": "model.ubj",
        "millwork": "forest.packed",
        "tensorrt": "model.plan",
    }
    return ConfigRequest(
        name="delays",
        triton_backend=backend,
        release=find(release),
        model_file=files[backend],
        model_sha256="5e" * 32,
        features=15,
        output=output,
        settings=Settings(threads=2),
    )


def parameters(text: str) -> dict[str, str]:
    return {key: value.string_value for key, value in triton_config.parse(text).parameters.items()}


@pytest.mark.parametrize("release", ["24.10", "26.03"])
@pytest.mark.parametrize("backend", ["onnxruntime", "fil", "python", "millwork"])
def test_golden(backend: str, release: str) -> None:
    golden = (GOLDEN / f"{backend}-{release}.pbtxt").read_text()
    assert render(request(backend, release), version=3) == golden.replace("@VERSION@", __version__)


@pytest.mark.parametrize("output", [BINARY, THREE, MARGIN, VALUE], ids=lambda output: f"{output.task}-{output.kind}")
@pytest.mark.parametrize("backend", ["onnxruntime", "fil", "python", "millwork"])
def test_shapes_are_the_contract(backend: str, output: OutputContract) -> None:
    config = triton_config.parse(render(request(backend, output=output)))
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("input__0", 11, [15])]
    assert [(o.name, o.data_type, list(o.dims)) for o in config.output] == [("output__0", 11, [len(output.labels)])]
    assert config.HasField("dynamic_batching")


@pytest.mark.parametrize(("release", "word"), [("25.08", "output_class"), ("25.09", "is_classifier")])
def test_fil_speaks_the_releases_dialect(release: str, word: str) -> None:
    asked = parameters(render(request("fil", release)))
    assert asked[word] == "true"
    assert {"output_class", "is_classifier"} & asked.keys() == {word}
    assert ("algo" in asked) == ("storage_type" in asked) == (word == "output_class")


def test_fil_thresholds_are_for_classifiers() -> None:
    assert parameters(render(request("fil")))["threshold"] == "0.25"
    assert parameters(render(request("fil", output=THREE)))["threshold"] == "0.5"
    for output in (MARGIN, VALUE):
        asked = parameters(render(request("fil", output=output)))
        assert "threshold" not in asked
        assert (asked["predict_proba"], asked["output_class"]) == ("false", "false")


def test_a_file_of_another_name_is_named() -> None:
    odd = msgspec.structs.replace(request("onnxruntime"), model_file="net.onnx")
    assert triton_config.parse(render(odd)).default_model_filename == "net.onnx"
    assert triton_config.parse(render(request("python"))).default_model_filename == ""


@pytest.mark.parametrize("field", ["max_batch", "instances", "threads"])
def test_counts_below_one_are_refused(field: str) -> None:
    with pytest.raises(UsageError, match=f"{field} is 0"):
        render(msgspec.structs.replace(request("fil"), settings=Settings(**{field: 0})))
    with pytest.raises(UsageError, match="features is 0"):
        render(msgspec.structs.replace(request("fil"), features=0))


@pytest.mark.parametrize("text", ['nme: "x"', "name: x", "{", "parameters { key: 1 }"])
def test_what_is_not_a_configuration_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="not a Triton model configuration"):
        triton_config.parse(text)


def test_with_version_changes_that_alone() -> None:
    text = render(request("fil"), version=1)
    assert triton_config.with_version(text, 12) == render(request("fil"), version=12)
    assert triton_config.fingerprint(text) == triton_config.fingerprint(render(request("fil"), version=12))
    assert triton_config.fingerprint(text) != triton_config.fingerprint(render(request("fil", "26.03")))


@pytest.mark.parametrize(
    ("policy", "serves"),
    [
        ("", (9,)),
        ("version_policy { latest { } }", (9,)),
        ("version_policy { latest { num_versions: 2 } }", (4, 9)),
        ("version_policy { all { } }", (1, 4, 9)),
        ("version_policy { specific { versions: [4, 1, 7] } }", (1, 4)),
        ("version_policy { specific { versions: [7] } }", ()),
    ],
)
def test_which_versions_serve(policy: str, serves: tuple[int, ...]) -> None:
    assert triton_config.served(f'name: "m" {policy}', [9, 1, 4]) == serves


@pytest.mark.parametrize("policy", ["", "version_policy { latest { num_versions: 2 } }", "version_policy { all { } }"])
def test_pinned_serves_the_same_when_a_version_arrives(policy: str) -> None:
    text = f'# ours\nname: "m"\nbackend: "python" {policy}'
    before = triton_config.served(text, [1, 2])
    fixed = triton_config.pinned(text, before)
    assert triton_config.served(fixed, [1, 2, 3]) == before
    assert fixed.startswith("# ours\n")
    assert triton_config.fingerprint(fixed) == triton_config.fingerprint(text)
    assert triton_config.pinned(fixed, before) == fixed


def test_pinning_keeps_what_it_does_not_know() -> None:
    text = 'name: "m"\na_field_of_2030: 1  # why\n'
    assert triton_config.pinned(text, (2,)).startswith(text.rstrip())
    with pytest.raises(ModelError, match="a_field_of_2030"):
        triton_config.pinned(f"{text} version_policy {{ all {{ }} }}", (2,))


def test_an_engine_says_its_profiles_and_the_sizes_of_its_graphs_whatever_is_tuned() -> None:
    plan = PlanFacts(
        flavour="tensorrt",
        build="11.4.0.106",
        gpu="NVIDIA L4",
        compute_capability="8.9",
        driver="580.95.05",
        onnx_sha256="0" * 64,
        profiles=((1, 1, 1), (2, 64, 1024)),
    )
    asked = msgspec.structs.replace(
        request("tensorrt"), plan=plan, parameters={"graphs": "1,64"}, settings=Settings(kind="gpu")
    )
    text = render(asked)
    for settings in (Settings(kind="gpu"), Settings(kind="gpu", instances=2, own={"cuda_graphs": "true"})):
        text = triton_config.with_settings(text, settings)
        config = triton_config.parse(text)
        assert (config.backend, config.max_batch_size) == ("tensorrt", 1024), "no batch beyond the profiles"
        (group,) = config.instance_group
        assert (list(group.profile), group.count, group.kind) == (["0", "1"], settings.instances, group.KIND_GPU)
        specs = [(spec.batch_size, list(spec.input["input__0"].dim)) for spec in config.optimization.cuda.graph_spec]
        assert specs == [(1, [15]), (64, [15])]
        assert config.optimization.cuda.graphs == (settings.instances == 2)
    assert "default_model_filename" not in text


OWN = {
    "onnxruntime": {"gpu_execution_accelerator": "tensorrt", "execution_mode": "1"},
    "fil": {"layout": "layered", "chunk_size": "16", "transfer_threshold": "16"},
    "tensorrt": {"cuda_graphs": "true", "busy_wait_events": "true"},
}


@pytest.mark.parametrize("backend", ["onnxruntime", "fil", "python", "millwork", "tensorrt"])
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(instances=3, threads=2, batching=False, max_batch=7),
        Settings(preferred=(4, 8), delay_us=200, max_queue=9, timeout_us=5000, gpus=(0, 1)),
    ],
    ids=["plain", "unbatched", "queued"],
)
def test_a_configuration_is_what_its_own_settings_make_of_it(backend: str, kind: Kind, settings: Settings) -> None:
    """So one that isn't was changed: a bundle's is compared with what is written for its settings (renewed.py)."""
    if backend == "tensorrt" and kind == "cpu":
        return
    own = OWN.get(backend, {}) if kind == "gpu" else {}
    settings = msgspec.structs.replace(settings, kind=kind, gpus=settings.gpus if kind == "gpu" else (), own=own)
    asked = msgspec.structs.replace(request(backend), settings=settings)
    text = with_settings(render(asked, version=5), settings, {"instance_group.count": "as measured"}, "best of 3")
    read = settings_of(text)
    again = with_settings(render(msgspec.structs.replace(asked, settings=read)), read)
    assert differing(text, again) == []
    assert differing(text.replace("dims: ", "dims: 1"), again) == ["input", "model_warmup", "output"]
