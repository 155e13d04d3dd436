"""From a client's row to the row that the trees read. Standalone: numpy and nothing of ours, so that this very file is
copied beside an artifact whose engine has no encoder of its own.

``tables``, by name::

    sentinels          float32 [s]           numbers that are read as missing in every numeric column
    vocabulary         uint8 [...]           JSON: for each of the C category features, the list of its known values
                                             (strings, or integers where ``input__1`` is INT64)
    hash{c}            int64 [V + 1]         of feature c's known values (CatBoost's), the last one for all others
    code{j}            float32 [V + 1]       of feature code_feature[j]'s known values, the last one for all others
    code_feature       int32 [J]
    ctr{k}_categories  int32 [a]             the category features whose hashes are combined
    ctr{k}_columns     int32 [b]             with: numeric column > border (a NaN counts as ctr{k}_nan says) …
    ctr{k}_borders     float32 [b]
    ctr{k}_nan         bool [b]
    ctr{k}_features    int32 [c]             … and with: hash of the category feature == value
    ctr{k}_values      int64 [c]
    ctr{k}_keys        uint64 [n]            combined hashes, ascending
    ctr{k}_table       float32 [n + 1, d]    what each key stands for, the last row for all others

The encoded row: the numeric columns, then a column a code, then the columns of each CTR. CatBoost combines hashes as
h = M (h + M v) mod 2^64 over the elements (its ctr_provider); facts were measured against CatBoost 1.2.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

MULTIPLIER = np.uint64(0x4906BA494954CB65)
UNKNOWN_HASH = 0x7FFFFFFF
"""Stands for the hash of a value that isn't known. CatBoost's own differs from every known one but for a collision
of 32 bits."""


class Encoder:
    """``tables`` as above. Call it with rows float32 [N, F] and categories [N, C] (str, bytes or integers), or None."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self.tables = tables
        self.sentinels = [np.float32(value) for value in tables.get("sentinels", ())]
        self.vocabularies = json.loads(bytes(tables["vocabulary"])) if "vocabulary" in tables else []
        self.positions = [_positions(values) for values in self.vocabularies]
        self.code_feature = tables.get("code_feature", np.zeros(0, np.int32))
        self.ctrs = sum(name.startswith("ctr") and name.endswith("_keys") for name in tables)

    def __call__(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, E]: the encoded rows."""
        numeric = np.array(rows, np.float32)
        for sentinel in self.sentinels:
            numeric[numeric == sentinel] = np.nan
        if not self.vocabularies:
            return numeric
        known = self.known(categories, len(numeric))
        parts = [numeric]
        parts += [self.tables[f"code{j}"][known[c]][:, None] for j, c in enumerate(self.code_feature)]
        parts += [self._ctr(k, numeric, known) for k in range(self.ctrs)]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def known(self, categories: Any, n: int) -> list[Any]:
        """For each category feature, each row's position in its vocabulary, int64 [N]; its length for other values."""
        wanted = (n, len(self.vocabularies))
        if categories is None or np.shape(categories) != wanted:
            raise ValueError(f"categories of shape {np.shape(categories)} instead of {wanted}")
        columns = [np.asarray(categories)[:, c].tolist() for c in range(wanted[1])]
        return [
            np.array([position.get(value, len(values)) for value in column], np.int64)
            for column, position, values in zip(columns, self.positions, self.vocabularies, strict=True)
        ]

    def _ctr(self, k: int, numeric: Any, known: list[Any]) -> Any:
        """float32 [N, d]: the values of the CTRs of one combination of elements."""
        t = {
            name: self.tables[f"ctr{k}_{name}"]
            for name in ("categories", "columns", "borders", "nan", "features", "values", "keys", "table")
        }
        h = np.zeros(len(numeric), np.uint64)
        for c in t["categories"]:
            h = mix(h, self.tables[f"hash{c}"][known[c]])
        for column, border, nan in zip(t["columns"], t["borders"], t["nan"], strict=True):
            value = numeric[:, column]
            h = mix(h, (value > border) | (np.isnan(value) & nan))
        for c, value in zip(t["features"], t["values"], strict=True):
            h = mix(h, self.tables[f"hash{c}"][known[c]] == value)
        at = np.searchsorted(t["keys"], h)
        found = at < len(t["keys"])
        found[found] = t["keys"][at[found]] == h[found]
        return t["table"][np.where(found, at, len(t["keys"]))]


def mix(h: Any, value: Any) -> Any:
    """One more element of a combination; uint64 [N]."""
    return MULTIPLIER * (h + MULTIPLIER * np.asarray(value).astype(np.int64).view(np.uint64))


def _positions(values: list[Any]) -> dict[Any, int]:
    """Values as the wire may bring them: strings also as UTF-8 bytes."""
    found: dict[Any, int] = {value: i for i, value in enumerate(values)}
    return found | {value.encode(): i for value, i in found.items() if isinstance(value, str)}
