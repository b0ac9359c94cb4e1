import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from glualign.plain import plain


@dataclass(frozen=True)
class Record:
    path: Path
    values: tuple[float, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Record(Path("a/b"), (1.0, float("inf"))), {"path": str(Path("a/b")), "values": [1.0, None]}),
        (np.array([[1, 2]], np.uint8), [[1, 2]]),
        (np.array([np.nan, 0.5], np.float32), [None, 0.5]),
        (np.bool_(True), True),
        ({1: {"x": None}}, {"1": {"x": None}}),
        ("text", "text"),
    ],
)
def test_records_become_what_json_holds(value, expected):
    assert plain(value) == expected
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected
