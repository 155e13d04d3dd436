"""XGBoost's binary files: the same values as in its JSON, and a ModelError for everything that isn't one."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from millwork.compile.frontends import ubjson
from millwork.errors import ModelError

Params = dict[str, str | int | float]


def trained(params: Params, rounds: int = 4, names: list[str] | None = None) -> xgb.Booster:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 5)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    labels = np.digitize(np.nan_to_num(rows[:, 0]), [-0.4, 0.4])
    labels = labels if "num_class" in params else np.minimum(labels, 1)
    depth: Params = {} if params.get("booster") == "gblinear" else {"max_depth": 3}
    return xgb.train({"nthread": 1} | depth | params, xgb.DMatrix(rows, labels, feature_names=names), rounds)


@pytest.fixture(scope="module")
def booster() -> xgb.Booster:
    return trained({"objective": "binary:logistic"}, 2)


def length(count: int) -> bytes:
    return b"L" + struct.pack(">q", count)


def same(read: object, expected: object) -> bool:
    """Whether a value read from UBJSON is what the JSON file says; floats at float32 precision."""
    if isinstance(expected, dict):
        return (
            isinstance(read, dict)
            and list(read) == list(expected)
            and all(same(read[k], v) for k, v in expected.items())
        )
    if isinstance(expected, list) and isinstance(read, np.ndarray):
        return len(read) == len(expected) and bool(np.all(read == np.array(expected, read.dtype)))
    if isinstance(expected, list):
        return isinstance(read, list) and len(read) == len(expected) and all(map(same, read, expected))
    if isinstance(expected, float):
        return isinstance(read, float) and np.float32(read) == np.float32(expected)
    return read == expected


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"objective": "binary:logistic"}, ["ä", "b c", "c", "d", "e"]),
        ({"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 2}, None),
        ({"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.5}, None),
        ({"objective": "reg:squarederror", "booster": "gblinear"}, None),
        ({"objective": "count:poisson"}, None),
    ],
)
def test_a_model_reads_as_its_json_does(tmp_path: Path, params: Params, names: list[str] | None) -> None:
    model = trained(params, names=names)
    model.save_model(tmp_path / "m.json")
    model.save_model(tmp_path / "m.ubj")

    read = ubjson.parse((tmp_path / "m.ubj").read_bytes())

    assert same(read, json.loads((tmp_path / "m.json").read_text()))


def test_arrays_are_in_this_machines_byte_order(booster: xgb.Booster) -> None:
    read = ubjson.parse(bytes(booster.save_raw("ubj")))
    assert isinstance(read, dict)
    tree = read["learner"]["gradient_booster"]["model"]["trees"][0]
    assert tree["split_conditions"].dtype == np.dtype("=f4")
    assert tree["split_conditions"].dtype.isnative
    assert tree["left_children"].dtype == np.dtype("=i4")


def test_the_model_inside_a_pickled_handle_is_what_save_raw_gives(booster: xgb.Booster) -> None:
    handle = bytes(booster.__getstate__()["handle"])
    read = ubjson.parse(handle)
    assert isinstance(read, dict)
    assert list(read) == ["Config", "Model"]
    assert ubjson.member(handle, "Model") == bytes(booster.save_raw("ubj"))
    assert pickle.loads(pickle.dumps(booster)).save_raw("ubj") == booster.save_raw("ubj")


def test_a_member_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="no member 'Model'"):
        ubjson.member(b"{}", "Model")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"Z", None),
        (b"T", True),
        (b"NNF", False),
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\xff\xff\xff\xfe", -2),
        (b"L" + b"\x00" * 7 + b"\x09", 9),
        (b"d" + struct.pack(">f", 0.5), 0.5),
        (b"D" + struct.pack(">d", -0.1), -0.1),
        (b"Cx", "x"),
        (b"Si\x02\xc3\xa4", "ä"),
        (b"SU\x00", ""),
        (b"[]", []),
        (b"[i\x01N[TZ]]", [1, [True, None]]),
        (b"[#i\x02i\x01T", [1, True]),
        (b"[$S#i\x02i\x01ai\x01b", ["a", "b"]),
        (b"[$[#i\x02]i\x05]", [[], [5]]),
        (b"{i\x01aTi\x01b{}}", {"a": True, "b": {}}),
        (b"{#i\x01i\x01aZ", {"a": None}),
        (b"{$i#i\x02i\x01a\x07i\x01b\x08", {"a": 7, "b": 8}),
    ],
)
def test_draft_12(payload: bytes, expected: object) -> None:
    assert ubjson.parse(payload) == expected


@pytest.mark.parametrize("marker", "iUIlLdD")
def test_typed_arrays(marker: str) -> None:
    code = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}[marker]
    payload = b"[$" + marker.encode() + b"#i\x03" + struct.pack(f">3{code}", 1, 2, 100)
    read = ubjson.parse(payload)
    assert isinstance(read, np.ndarray)
    assert read.tolist() == [1, 2, 100]
    assert read.dtype == np.dtype(code)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", r"expected a value at byte 0 of 0"),
        (b"x", r"expected the marker of a value, not b'x', at byte 0 of 1"),
        (b"TT", r"expected the end of the file at byte 1"),
        (b"D\x00", r"expected a number of 8 bytes at byte 1"),
        (b"Si\x05ab", r"expected a length from 0 to 2, not 5, at byte 1"),
        (b"Si\xffab", r"expected a length from 0 to 2, not -1, at byte 1"),
        (b"Sd\x00\x00\x00\x00", r"expected a length \(an integer\) at byte 1"),
        (b"Si\x01\xff", r"expected UTF-8 text at byte 3"),
        (b"C\xff", r"expected an ASCII character at byte 1"),
        (b"[T", r"expected a value at byte 2"),
        (b"[$d", r"expected '#', the number of elements at byte 3"),
        (b"{i\x01aTi\x01aF}", r"expected another key than 'a' again at byte 5"),
        (b"[$x#i\x01", r"expected a type that has values at byte 2"),
        # a few bytes that stand for as much as you like
        (b"[$d#" + length(1 << 61), r"expected a length from 0 to 0"),
        (b"[#" + length(1 << 62), r"expected a length from 0 to 0"),
        (b"[$Z#" + length(1 << 40), r"expected a type that has values"),
        (b"[" * 100_000, r"no more than 64 levels of nesting"),
        (b"{i\x00" * 100_000, r"no more than 64 levels of nesting"),
        (b"[$[#i\x01" * 100_000, r"no more than 64 levels of nesting"),
    ],
)
def test_what_is_not_ubjson_is_refused_by_offset(payload: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        ubjson.parse(payload, "m.ubj")
    assert str(refused.value).startswith("m.ubj: not a readable UBJSON model: ")


def test_every_truncation_is_refused(booster: xgb.Booster) -> None:
    payload = bytes(booster.save_raw("ubj"))
    for size in range(0, len(payload), 7):
        with pytest.raises(ModelError):
            ubjson.parse(payload[:size])


def test_mutations_give_a_value_or_a_model_error(booster: xgb.Booster) -> None:
    payload = bytes(booster.save_raw("ubj"))
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(3000):
        mutated = bytearray(payload)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(mutated)))
            match rng.integers(3):
                case 0:
                    mutated[at] = int(rng.integers(256))
                case 1:
                    del mutated[at : at + int(rng.integers(1, 9))]
                case _:
                    mutated[at:at] = rng.bytes(int(rng.integers(1, 9)))
        try:
            ubjson.parse(bytes(mutated))
        except ModelError:
            refused += 1
    assert refused > 1000
