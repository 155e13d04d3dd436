"""Files of weights as others save them: each is read by its tensors alone, or refused by its true name."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from millwork.compile.frontends.sniff import sniff
from millwork.compile.frontends.torch import state_dicts, weights
from millwork.errors import ModelError, UsageError

NET = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
STATE = NET.state_dict()
WANTED = set(STATE)


def saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def prefixed(prefix: str, state: dict[str, Any] = STATE) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    names = {torch.float32: "F32", torch.float16: "F16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, value in state.items():
        raw = value.contiguous().numpy().tobytes()
        ends = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": ends}
        body += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tabnet(inner: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model_params.json", "{}")
        archive.writestr("network.pt", inner)
    return out.getvalue()


class Settings(dict):  # type: ignore[type-arg]
    """A class of the user's own, among the hyper-parameters."""


class Runs:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: str = "") -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


def checkpoint(hyper_parameters: Any) -> dict[str, Any]:
    """As Lightning's ``.ckpt``."""
    return {"epoch": 3, "state_dict": prefixed("net."), "optimizer_states": [{}], "hyper_parameters": hyper_parameters}


@pytest.mark.parametrize(
    "content",
    [
        saved(STATE),
        saved(STATE, _use_new_zipfile_serialization=False),
        saved(STATE, _use_new_zipfile_serialization=False, pickle_protocol=4),
        saved(prefixed("module.")),
        saved(prefixed("_orig_mod.module.")),
        saved({name.replace("2.", "2._orig_mod."): value for name, value in STATE.items()}),
        saved(AveragedModel(NET).state_dict()),
        saved(checkpoint({"width": 4})),
        saved(checkpoint({"a": Settings(b=1), "c": defaultdict(list, {1: [2]}), "path": Path("x")})),
        saved(checkpoint(Settings), _use_new_zipfile_serialization=False),
        saved({"model": STATE, "optimizer": {"state": {}}}),
        tabnet(saved(STATE)),
        safetensors(STATE),
        safetensors(prefixed("module.")),
    ],
    ids=[
        "zip",
        "legacy",
        "legacy-4",
        "module.",
        "compiled",
        "inside",
        "swa",
        "lightning",
        "hyper",
        "legacy-hyper",
        "nested",
        "tabnet",
        "safe",
        "safe.",
    ],
)
def test_a_state_dict_is_read_however_it_was_saved(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(content)
    assert sniff(tmp_path / "weights") == "torch-weights"
    found = state_dicts.fitted(state_dicts.read(content), WANTED)
    assert set(found.tensors) == WANTED
    assert all(torch.equal(found.tensors[name], value) for name, value in STATE.items())


def test_nothing_that_a_checkpoint_names_is_called(tmp_path: Path) -> None:
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        content = saved(checkpoint(Runs(str(tmp_path / "made"))), **options)
        assert set(state_dicts.fitted(state_dicts.read(content), WANTED).tensors) == WANTED
        assert not (tmp_path / "made").exists()
    with pytest.raises(ModelError, match=r"a pickle of \w*.?mkdir"):
        state_dicts.read(saved(Runs(str(tmp_path / "made"))))
    assert not (tmp_path / "made").exists()
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickle.dumps(Runs(str(tmp_path / "no" / "made"))))  # it would have been called


def test_what_is_left_out_of_a_checkpoint_is_told() -> None:
    found = state_dicts.fitted(state_dicts.read(saved({**prefixed("net."), "loss.weight": torch.ones(2)})), WANTED)
    assert set(found.tensors) == WANTED
    assert "only what is under 'net.' is read, and not loss.weight" in found.notes[0]
    both = state_dicts.read(saved({"state_dict": STATE, "ema": STATE}))
    assert "'state_dict' is read, and not 'ema'" in both.notes[0]


def test_a_wrapper_around_the_net_that_was_trained() -> None:
    wanted = set(prefixed("inner."))
    assert set(state_dicts.fitted(state_dicts.read(saved(STATE)), wanted).tensors) == wanted


def test_one_layer_of_many_is_no_net() -> None:
    state = {**prefixed("0.", nn.Linear(3, 1).state_dict()), "1.running": torch.ones(1)}
    assert set(state_dicts.fitted(state_dicts.State(tensors=state), {"weight", "bias"}).tensors) == set(state)


def _script(_: Path) -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(NET), out)
    return out.getvalue()


def _package(folder: Path) -> bytes:
    from torch.package import PackageExporter

    with PackageExporter(str(folder / "p.pt")) as package:
        package.extern("**")
        package.save_pickle("net", "net.pkl", NET)
    return (folder / "p.pt").read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_script, r"a TorchScript file(.|\n)*torch.jit.load\(path\).state_dict"),
        (_package, "a torch.package archive"),
        (lambda _: saved(NET), "a pickle of torch.nn.modules.container.Sequential"),
        (lambda _: saved(NET, _use_new_zipfile_serialization=False), "a pickle of torch.nn.modules.container"),
        (lambda _: saved({"model": STATE, "ema": STATE}), "holds 2 state dicts: model, ema"),
        (lambda _: saved({"epoch": 1}), "'epoch' isn't a tensor"),
        (lambda _: saved([1]), "holds a list, not a state dict"),
        (lambda _: safetensors(STATE)[:-3], "lies beyond the file's end"),
        (lambda _: safetensors(STATE)[:40], "safetensors file that was cut short"),
        (lambda _: safetensors(STATE).replace(b'"F32"', b'"F8" '), "is of type F8, which isn't read"),
        (lambda _: safetensors(STATE).replace(b'"shape": [4', b'"shape": [9'), "has 48 bytes for|has 16 bytes for"),
    ],
    ids=["script", "package", "module", "legacy-module", "two", "dict", "list", "cut", "cut-header", "type", "shape"],
)
def test_what_is_no_state_dict_is_refused_by_its_true_name(make: Any, said: str, tmp_path: Path) -> None:
    content = make(tmp_path)
    (tmp_path / "weights").write_bytes(content)
    assert sniff(tmp_path / "weights") == "torch-weights"
    with pytest.raises(ModelError, match=said):
        state_dicts.read(content)


def test_weights_that_are_there_twice_are_refused() -> None:
    twice = state_dicts.State(tensors={**prefixed("net."), **prefixed("ema.")})
    with pytest.raises(ModelError, match=r"2 times: under 'ema\.', 'net\.'"):
        state_dicts.fitted(twice, WANTED)


def test_weights_of_another_type_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(1))
    state = state_dicts.State(tensors={name: value.double() for name, value in STATE.items()})
    (note,) = weights._fill(module, state, "made")
    assert note == "4 tensors of the state dict are float64; the module holds them as float32"
    assert torch.allclose(module(torch.ones(2, 3)), NET(torch.ones(2, 3)))
    with pytest.raises(ModelError, match="doesn't fit the module that made makes"):
        weights._fill(nn.Linear(3, 1), state_dicts.State(tensors=dict(STATE)), "made")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"module": NET, "rows": 1}, "returned a dict of module, rows"),
        ((NET, 1, 2), "returned a tuple of Sequential, int, int"),
        (nn.Linear, "returned the class Linear"),
        (None, "returned a NoneType"),
    ],
)
def test_what_a_factory_returned_is_said(made: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factory = ModuleType("factories")
    factory.make = lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "factories", factory)
    with pytest.raises(UsageError, match=said):
        weights._net(weights._made("factories:make", ""), "factories:make")
