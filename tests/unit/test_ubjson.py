"""The UBJSON reader reads what XGBoost writes, and nothing makes it allocate more than the file holds."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.scoring import ubjson


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_same_model_reads_alike_from_both_formats(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((100, 3))
    booster = xgb.train({"nthread": 1}, xgb.DMatrix(values, values[:, 0], feature_names=["a", "b", "ö"]), 3)
    booster.save_model(tmp_path / "m.ubj")
    booster.save_model(tmp_path / "m.json")
    read = plain(ubjson.loads((tmp_path / "m.ubj").read_bytes()))
    expected = json.loads((tmp_path / "m.json").read_text())

    def same(left: object, right: object) -> None:
        if isinstance(right, dict):
            assert isinstance(left, dict)
            assert left.keys() == right.keys()
            for key in right:
                same(left[key], right[key])
        elif isinstance(right, list):
            assert isinstance(left, list)
            assert len(left) == len(right)
            for one, other in zip(left, right, strict=True):
                same(one, other)
        elif isinstance(right, float):
            assert left == pytest.approx(right, rel=1e-5, abs=1e-9)
        else:
            assert left == right

    same(read, expected)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"Z", None),
        (b"T", True),
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x01\x00\x00", 65536),
        (b"d\x3f\x80\x00\x00", 1.0),
        (b"SU\x03abc", "abc"),
        (b"Cx", "x"),
        (b"[i\x01i\x02]", [1, 2]),
        (b"[#i\x02i\x01T", [1, True]),
        (b"[$U#i\x03\x01\x02\x03", [1, 2, 3]),
        (b"{U\x01aT}", {"a": True}),
        (b"{$i#i\x01U\x01a\x07", {"a": 7}),
        (b"NNT", True),
    ],
)
def test_every_marker(data: bytes, value: object) -> None:
    assert plain(ubjson.loads(data)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"[$U#l\x7f\xff\xff\xff",
        b"[#l\x7f\xff\xff\xff",
        b"?",
        b"[$U",
        b"SU\x05ab",
        b"[" * 1000,
        b"[#d",
    ],
)
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(ubjson.UbjsonError):
        ubjson.loads(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ubjson.UbjsonError):
        ubjson.loads(data)
