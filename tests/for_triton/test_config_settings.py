"""Settings in config.pbtxt: what is put there is read back, on CPUs and GPUs, and the comments survive publishing."""

from __future__ import annotations

import msgspec
import pytest

from millwork.triton import config as triton_config
from millwork.triton.config import ConfigRequest
from millwork.triton.settings import Settings
from millwork.triton_releases import find
from millwork.values import OutputContract


def request(backend, release="24.10"):
    return ConfigRequest(
        name="m",
        triton_backend=backend,
        release=find(release),
        model_file="model.onnx",
        model_sha256="5e" * 32,
        features=5,
        output=OutputContract(kind="value", task="regression", labels=("y",)),
    )


CASES = [
    ("python", Settings(instances=2, threads=3, delay_us=200, preferred=(8, 64), max_batch=512)),
    ("onnxruntime", Settings(threads=2, batching=False)),
    ("fil", Settings(max_queue=40, timeout_us=5000)),
    ("fil", Settings(instances=2, kind="gpu", gpus=(0, 1), own={"transfer_threshold": "16", "layout": "layered"})),
    ("onnxruntime", Settings(kind="gpu", own={"gpu_execution_accelerator": "tensorrt", "cuda_graphs": "true"})),
]


@pytest.mark.parametrize(("backend", "settings"), CASES)
def test_what_is_put_is_read(backend, settings):
    base = triton_config.render(request(backend))
    text = triton_config.with_settings(base, settings)
    assert triton_config.settings_of(text) == settings
    back = triton_config.with_settings(text, triton_config.settings_of(base))
    assert triton_config.fingerprint(back) == triton_config.fingerprint(base), "nothing else was changed"


def test_gpu_settings_as_triton_reads_them():
    text = triton_config.with_settings(triton_config.render(request("fil", "26.03")), CASES[3][1])
    config = triton_config.parse(text)
    (group,) = config.instance_group
    assert (group.kind, group.count, list(group.gpus)) == (group.KIND_GPU, 2, [0, 1])
    assert config.parameters["layout"].string_value == "layered"
    config = triton_config.parse(triton_config.with_settings(triton_config.render(request("onnxruntime")), CASES[4][1]))
    assert config.optimization.cuda.graphs
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"


def test_reasons_stand_above_their_settings_and_survive_another_version():
    reasons = {"instance_group.count": "why two\nlines", "parameters[threads]": "why three", "nothing": "unseen"}
    base = triton_config.render(request("python"))
    text = triton_config.with_settings(base, CASES[0][1], reasons, "Tuned on a server.")
    assert "  # why two\n  # lines\n  count: 2" in text
    assert '# why three\nparameters {\n  key: "threads"' in text
    assert "unseen" not in text
    assert "#: Tuned on a server.\n" in text
    newer = triton_config.with_version(text, 12)
    assert newer == text.replace("versions: 1\n", "versions: 12\n")
    assert triton_config.fingerprint(text) == triton_config.fingerprint(triton_config.with_settings(base, CASES[0][1]))
    again = triton_config.with_settings(text, CASES[0][1], {}, "Tuned again.")
    assert "Tuned on a server." not in again


@pytest.mark.parametrize("backend", ["python", "onnxruntime", "fil", "millwork", "tensorrt"])
def test_every_configuration_warms_each_instance_up(backend):
    """By calls of one row, of the preferred sizes, and of many rows; of every input, categories among them."""
    asked = msgspec.structs.replace(request(backend), categories=2, category_dtype="string", settings=CASES[0][1])
    config = triton_config.parse(triton_config.render(asked))
    assert [warm.batch_size for warm in config.model_warmup] == [1, 8, 64]
    for warm in config.model_warmup:
        given = {name: (one.data_type, list(one.dims), one.zero_data) for name, one in warm.inputs.items()}
        assert given == {tensor.name: (tensor.data_type, list(tensor.dims), True) for tensor in config.input}
        assert len(given) == 2


def test_a_warm_up_follows_the_settings_and_leaves_an_operators_own():
    base = triton_config.render(request("python"))
    own = base + 'model_warmup { name: "ours" batch_size: 3 inputs { key: "input__0" value { zero_data: true } } }\n'
    changed = triton_config.parse(triton_config.with_settings(own, Settings(preferred=(16,), max_batch=32)))
    assert [(warm.name, warm.batch_size) for warm in changed.model_warmup] == [
        ("ours", 3),
        ("millwork: 1 row", 1),
        ("millwork: 16 rows", 16),
        ("millwork: 32 rows", 32),
    ]
