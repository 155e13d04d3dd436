"""A frame for the framework is read back with the values and types that it was saved with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from millwork.compile.runners import catboost_frame
from millwork.storage import frames, texts

VALUES = {
    "uint8": np.array([1, 146, 3], np.uint8),
    "int64": np.array([1, -2, 3]),
    "bool": np.array([True, False, True]),
    "text": np.array(["a", "b c", "10"], object),
    "text with a NUL": np.array(["a\0", "", "10"], object),
    "categories of text": pd.Categorical(["b", "a", "b"]),
    "categories of bytes": pd.Categorical(np.array([7, 200, 7], np.uint8)),
}


CASES = [(kind, True) for kind in VALUES] + [(kind, False) for kind in ("uint8", "int64", "bool")]


@pytest.mark.parametrize(("kind", "category"), CASES)
def test_a_column_comes_back_as_it_was(kind: str, category: bool, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(pd.DataFrame({"a": VALUES[kind]}))
    frames.save(tmp_path / frames.FRAME_FILE, table, ("a",) if category else ())
    [column], _ = catboost_frame._read(tmp_path / frames.FRAME_FILE, texts.unpacked)
    assert list(column) == list(VALUES[kind])
    assert isinstance(column, pd.Categorical) == isinstance(VALUES[kind], pd.Categorical)
    if isinstance(column, np.ndarray):
        assert column.dtype == VALUES[kind].dtype
