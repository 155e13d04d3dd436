"""``client.py``, written for what was published: it says what the golden rows say, and no name in it is code."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from millwork.artifacts import client
from millwork.artifacts.report.sections import CLIENT_FILE
from millwork.validators.rows.given import Given
from millwork.values import FeatureContract, Manifest, OutputContract

HOSTILE = (
    "plain",
    'it\'s "quoted"',
    "line\nbreak",
    "{braces} %s $HOME `id`",
    "back\\slash'",
    '"""\nimport os; os.system("touch pwned")\n"""',
    "\u202eevil",
    "Zürich\0",
    "# ── how it is asked",
)
ODD = np.array([[0.1, np.nan, np.inf, -0.0, 1e-45, 3.4e38, 16777217, -1e-3, 2.5]] * 2, np.float32)
ANSWERS = np.array([[0.25, 0.75], [0.1, 0.9]], np.float32)


def of(manifest: Manifest, **changes: Any) -> Manifest:
    features = FeatureContract(names=HOSTILE, named=True, missing=-999.0)
    output = OutputContract(kind="probability", task="binary", labels=("it's", "<b>\n"))
    return msgspec.structs.replace(manifest, **{"features": features, "output": output, "golden_abs": 1e-6} | changes)


def written(manifest: Manifest, given: Given, answers: Any, folder: Path) -> dict[str, Any]:
    """The program's names, once it was read as any Python file is."""
    path = folder / CLIENT_FILE
    path.write_text(client.source(manifest, given, answers), encoding="utf-8")
    return runpy.run_path(str(path))


@pytest.mark.parametrize("category_dtype", ["", "string", "int64"])
def test_a_client_sends_the_golden_rows_to_the_bit(category_dtype: Any, manifest: Manifest, tmp_path: Path) -> None:
    words: Any = {"": None, "string": np.array([HOSTILE[1:3], HOSTILE[3:5]]), "int64": np.array([[1, -(2**63)]] * 2)}
    given = Given(ODD, words[category_dtype])
    names = () if given.categories is None else ("plan\n", "it's")
    features = FeatureContract(
        names=HOSTILE, named=True, category_names=names, category_dtype=category_dtype, categories={"it's": HOSTILE}
    )
    found = written(of(manifest, features=features), given, ANSWERS, tmp_path)
    sent = {name: (kind, values) for name, kind, values in found["tensors"](found["ROWS"])}
    assert sent["input__0"][0] == "FP32"
    np.testing.assert_array_equal(sent["input__0"][1].view(np.int32), ODD.view(np.int32))
    np.testing.assert_array_equal(np.float32(found["ANSWERS"]), ANSWERS)
    assert found["OUTPUTS"] == ("it's", "<b>\n")
    if given.categories is None:
        assert list(sent) == ["input__0"]
        return
    kind, values = sent["input__1"]
    assert kind == ("INT64" if category_dtype == "int64" else "BYTES")
    wanted = given.categories.tolist()
    assert values.tolist() == (wanted if kind == "INT64" else [[word.encode() for word in row] for row in wanted])


def test_the_record_holds_the_request_that_the_client_prints_for_a_shell(manifest: Manifest, tmp_path: Path) -> None:
    features = FeatureContract(names=HOSTILE, named=True, category_names=("plan",), category_dtype="string")
    given = Given(ODD, np.array([['O\'Brien "x" $(id)\n'], ["b"]]))
    found = written(of(manifest, features=features), given, ANSWERS, tmp_path)
    example = client.example(of(manifest, features=features), given, ANSWERS)
    assert example.request == found["as_json"](found["ROWS"][:1])
    line = shlex.split(found["curl"]("http://127.0.0.1:8000/", found["ROWS"][:1]))
    assert example.request in line
    assert line[-1] == "http://127.0.0.1:8000/v2/models/m/infer"
    numbers, words = json.loads(example.request)["inputs"]
    np.testing.assert_array_equal(np.float32(numbers["data"]), ODD[0])
    assert words["data"] == ['O\'Brien "x" $(id)\n']
    assert example.answer == ("0.25", "0.75")


def test_a_missing_category_is_sent_only_where_the_model_takes_one(manifest: Manifest, tmp_path: Path) -> None:
    for nulls in (True, False):
        features = FeatureContract(
            names=(), named=True, category_names=("plan",), category_dtype="string", category_nulls=nulls
        )
        rows = Given(np.zeros((1, 0), np.float32), np.array([["basic"]]))
        found = written(of(manifest, features=features), rows, ANSWERS[:1], tmp_path)
        if nulls:
            ((name, _, values),) = found["tensors"]([{"plan": None}])
            assert (name, values.tolist()) == ("input__1", [[b""]])
        else:
            with pytest.raises(ValueError, match="plan is missing"):
                found["tensors"]([{"plan": None}])
        with pytest.raises(KeyError, match="plan"):
            found["tensors"]([{}])


def test_features_of_the_same_name_are_told_apart(manifest: Manifest, tmp_path: Path) -> None:
    assert client.told_apart(["a", "a (2)", "a", "a"]) == ["a", "a (2)", "a (3)", "a (4)"]
    features = FeatureContract(names=("a", "a"), named=True)
    found = written(of(manifest, features=features), Given(ODD[:, :2]), ANSWERS, tmp_path)
    np.testing.assert_array_equal(found["tensors"](found["ROWS"])[0][2], ODD[:, :2])


def test_rows_that_are_whole_come_first_then_one_that_lacks_a_value() -> None:
    numbers = np.array([[np.nan, 1], [np.inf, 1], [1, 2], [3, 4], [5, 6]], np.float32)
    answers = np.array([[1], [1], [np.nan], [1], [1]], np.float32)
    assert client.pick(Given(numbers), answers, several=True) == [3, 4, 0]
    assert client.pick(Given(numbers), answers, several=False) == [0]
    wide = np.zeros((3, 200), np.float32)
    assert client.pick(Given(wide), np.ones((3, 1), np.float32), several=True) == [0]


def test_answers_that_differ_are_told(manifest: Manifest, tmp_path: Path) -> None:
    agree = written(of(manifest), Given(ODD), ANSWERS, tmp_path)["agree"]
    assert agree(ANSWERS, ANSWERS)
    assert not agree(ANSWERS + np.float32(1e-3), ANSWERS)
    assert not agree(ANSWERS[:, :1], ANSWERS)
    assert agree(np.float32([np.nan]), np.float32([np.nan]))
