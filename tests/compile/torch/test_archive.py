"""A .pt2 is plain tensors and a graph, or it is refused: nothing in it is unpickled, whatever it says."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import millwork
from millwork.compile.frontends.torch import archive
from millwork.errors import ModelError

Edit = Callable[[dict[str, bytes]], None]


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/millwork-pt2-was-here"),))  # noqa: S108 (never written)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("pt2") / "net.pt2"
    millwork.save_net(
        nn.Linear(3, 2), torch.randn(4, 3), path, task="multiclass", names=["a", "b", "c"], labels=["x", "y"]
    )
    return path.read_bytes()


def edited(content: bytes, edit: Edit) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = {item.filename.partition("/")[2]: old.read(item) for item in old.infolist()}
    edit(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, value in members.items():
            new.writestr(f"net/{name}", value)
    return out.getvalue()


def test_the_card_comes_back_and_the_copy_is_the_same_net(saved: bytes) -> None:
    found = archive.read(saved)
    assert (found.card.task, found.card.names, found.card.labels) == ("multiclass", ("a", "b", "c"), ("x", "y"))
    assert found.version.startswith("2.")
    rows = torch.randn(5, 3)
    one, other = (torch.export.load(io.BytesIO(content)).module()(rows) for content in (saved, found.content))
    assert torch.equal(one, other)
    with zipfile.ZipFile(io.BytesIO(found.content)) as copy:
        samples = [item for item in copy.infolist() if "sample_inputs" in item.filename]
        assert [item.file_size for item in samples] == [0]


def pickled_samples(members: dict[str, bytes]) -> None:
    for name in members:
        if "sample_inputs" in name:
            members[name] = pickle.dumps(Bomb())


def test_sample_inputs_are_never_read(saved: bytes) -> None:
    found = archive.read(edited(saved, pickled_samples))
    torch.export.load(io.BytesIO(found.content))
    assert not Path("/tmp/millwork-pt2-was-here").exists()  # noqa: S108


def pickled_weight(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("_weights_config.json"))
    table = json.loads(members[name])
    first = next(iter(table["config"].values()))
    first["use_pickle"] = True
    members[name] = json.dumps(table).encode()
    members[f"data/weights/{first['path_name']}"] = pickle.dumps(Bomb())


def opaque(members: dict[str, bytes]) -> None:
    members["data/constants/opaque_obj_0"] = pickle.dumps(Bomb())


def script(members: dict[str, bytes]) -> None:
    members["data/constants/custom_obj_0"] = pickle.dumps(Bomb())


def legacy(members: dict[str, bytes]) -> None:
    members["data/constants/net.pt"] = pickle.dumps(Bomb())


def inductor(members: dict[str, bytes]) -> None:
    members["data/aotinductor/net/net.so"] = b"\x7fELF"


def expression(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("models/"))
    members[name] = members[name].replace(b"Symbol('", b"__import__('os').system('touch x') or Symbol('", 1)


def outside(members: dict[str, bytes]) -> None:
    members["../../etc/passwd"] = b"x"


def two(members: dict[str, bytes]) -> None:
    members["models/other.json"] = members[next(name for name in members if name.startswith("models/"))]


def card(members: dict[str, bytes]) -> None:
    members["extra/millwork.json"] = b'{"task": "clustering"}'


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (pickled_weight, "is a pickle"),
        (opaque, "opaque_obj_0"),
        (script, "custom_obj_0"),
        (legacy, "net.pt"),
        (inductor, "net.so"),
        (expression, "isn't arithmetic"),
        (outside, "etc/passwd"),
        (two, "2 nets"),
        (card, "isn't one that millwork.save_net writes"),
    ],
)
def test_what_could_run_code_is_refused_by_name(saved: bytes, edit: Edit, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        archive.read(edited(saved, edit))


def test_damaged_archives_are_refused(saved: bytes) -> None:
    for content in (saved[: len(saved) // 2], saved[:100], b"PK\x03\x04" + bytes(100), edited(saved, dict.clear)):
        with pytest.raises(ModelError):
            archive.read(content)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("net/models/net.json", b" " * (archive.FLOOR + 1))
    with pytest.raises(ModelError, match="unpacks to"):
        archive.read(out.getvalue())
