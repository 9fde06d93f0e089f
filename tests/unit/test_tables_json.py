"""Files of JSON objects become typed tables, whatever stands where in them, or are refused by line and field."""

import bz2
import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import FileFormat, LoadOptions
from scorestream_server.tables import csv_source, json_source
from scorestream_server.tables.formats import COMPRESSIONS
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

Load = Callable[..., pa.Table]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write texts to files, load them as one table, and return its rows."""
    cache = tmp_path / "cache"
    cache.mkdir()

    def run(*texts: str | bytes, name: str = "t{}.jsonl", columns: tuple[str, ...] = ()) -> pa.Table:
        paths = []
        for at, text in enumerate(texts):
            paths.append(tmp_path / name.format(at))
            paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            table = load_table(paths, cache, LoadOptions(columns=columns))
        except ScorestreamError:
            assert list(cache.iterdir()) == []
            raise
        assert table.format is (FileFormat.JSON if "json" in name else FileFormat.CSV)
        rows = TableReader().head(table, table.rows + 1)
        Path(table.files[0].path).unlink()
        return rows

    return run


def fault(load: Load, *texts: str | bytes, **options: Any) -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        load(*texts, **options)
    return caught.value


def test_types_nulls_times_and_blank_lines(load: Load) -> None:
    rows = load(
        '\ufeff{"i": 1, "f": 1.5, "s": "é", "b": true, "t": "2024-01-31", "n": null}\n'
        '\n{"f": 2, "t": "2024-02-01T10:00:00.25"}\r\n{"i": 3}'
    )
    assert rows.schema.types == [
        pa.int64(),
        pa.float64(),
        pa.string(),
        pa.bool_(),
        pa.timestamp("us"),
        pa.float64(),
    ]
    assert rows.column("i").to_pylist() == [1, None, 3]
    assert rows.column("t").to_pylist() == [
        datetime(2024, 1, 31),  # noqa: DTZ001  there is none in the file
        datetime(2024, 2, 1, 10, 0, 0, 250_000),  # noqa: DTZ001
        None,
    ]
    assert rows.column("n").null_count == 3


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("common", "odd", "kind"),
    [
        ("1", "2.5", pa.float64()),
        ("1", "99999999999999999999", pa.float64()),
        ("null", "7", pa.int64()),
        ("null", '"x"', pa.string()),
        ('"2024-01-01"', '"x"', pa.string()),
        ('"2024-01-01"', '"2024-01-01T00:00:00.5"', pa.timestamp("us")),
    ],
)
def test_a_value_widens_its_column_wherever_it_stands(
    load: Load, monkeypatch: pytest.MonkeyPatch, common: str, odd: str, kind: pa.DataType, early: bool
) -> None:
    monkeypatch.setattr(json_source, "BLOCK_BYTES", 256)
    lines = [f'{{"a": {common}, "b": 1}}\n'] * 100
    lines.insert(0 if early else 90, f'{{"a": {odd}}}\n')
    rows = load("".join(lines))
    assert rows.schema.field("a").type == kind
    assert rows.num_rows == 101
    assert rows.column("b").null_count == 1


def test_fields_that_come_late_are_columns_and_may_be_chosen(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_source, "BLOCK_BYTES", 64)
    lines = '{"a": 1}\n' * 50 + '{"late": "x", "a": 2}\n' + '{"a": 1}\n' * 50
    rows = load(lines, '{"c": true}\n')
    assert rows.schema.names == ["a", "late", "c"]
    assert rows.num_rows == 102
    assert load(lines, columns=("late",)).column("late").drop_null().to_pylist() == ["x"]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("{", "is no JSON"),
        ("[1]", "is no JSON object"),
        ("5", "is no JSON object"),
        ('{"a": 1, "a": 2}', "has the field 'a' twice"),
        ('{"a": nope}', "is no JSON"),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, 64])
def test_a_broken_line_is_named_with_file_and_number(
    load: Load, monkeypatch: pytest.MonkeyPatch, bad: str, told: str, block: int
) -> None:
    monkeypatch.setattr(json_source, "BLOCK_BYTES", block)
    error = fault(load, '{"a": 1}\n', '{"a": 1}\n' * 20 + f"{bad}\n" + '{"a": 1}\n' * 20)
    assert (error.reason, error.metadata["line"]) == ("JSON_BROKEN_LINE", "21")
    assert f"Line 21 of 't1.jsonl' {told}" in error.message


@pytest.mark.parametrize("block", [1 << 20, 64])
def test_numbers_and_text_in_one_field_are_refused_by_line(
    load: Load, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(json_source, "BLOCK_BYTES", block)
    error = fault(load, '{"a": 1, "b": "x"}\n' * 20 + '{"a": "one"}\n' + '{"a": 1}\n' * 20)
    assert (error.reason, error.metadata["line"], error.faults[0].field) == ("JSON_MIXED_TYPES", "21", "a")
    assert "is text here and a number before" in error.message


def test_objects_and_lists_are_refused_by_field_unless_they_are_left_out(load: Load) -> None:
    lines = '{"a": 1, "o": {"x": 1}, "l": [1, 2]}\n{"a": 2, "o": {"y": "z"}, "l": []}\n'
    error = fault(load, lines)
    assert (error.reason, [one.field for one in error.faults]) == ("UNSUPPORTED_TYPE", ["o", "l"])
    assert load(lines, columns=("a",)).column("a").to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "EMPTY_FILE"),
        (b"\n \n", "EMPTY_FILE"),
        (b"{}\n{}\n", "EMPTY_FILE"),
        (b'{"": 1}\n', "BAD_COLUMN_NAMES"),
        (b'{"a": "\xff"}\n', "JSON_BROKEN_LINE"),
        (b'{"a": "' + b"x" * 9_000_000 + b'"}', "JSON_BROKEN_LINE"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "JSON_BROKEN_LINE"),
        (b'{"a": 1e999}\n', "JSON_UNREADABLE"),
    ],
)
def test_unreadable_files_are_refused_and_leave_nothing(load: Load, text: bytes, reason: str) -> None:
    assert fault(load, text).reason == reason


@pytest.mark.parametrize("ending", COMPRESSIONS)
@pytest.mark.parametrize("text", ["csv", "tsv", "jsonl", "ndjson"])
def test_text_may_be_compressed(load: Load, monkeypatch: pytest.MonkeyPatch, ending: str, text: str) -> None:
    """In several streams one after the other, too, as tools that compress in parallel write it."""
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(json_source, "BLOCK_BYTES", 4096)
    lines = [f'{{"a": {n}, "b": "x"}}\n' for n in range(3000)]
    if text in {"csv", "tsv"}:
        between = "," if text == "csv" else "\t"
        lines = [f"a{between}b\n", *(f"{n}{between}x\n" for n in range(3000))]

    def compressed(lines: list[str]) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, COMPRESSIONS[ending]) as stream:
            stream.write("".join(lines).encode())
        return bytes(sink.getvalue())

    whole = compressed(lines)
    rows = load(whole, name=f"t{{}}.{text}{ending}")
    assert rows.column("a").to_pylist() == list(range(3000))
    parts = compressed(lines[:1000]) + compressed(lines[1000:])
    assert load(parts, name=f"t{{}}.{text}{ending}").equals(rows)
    for damaged in (whole[: len(whole) // 2], b"no such thing", b""):
        assert fault(load, damaged, name=f"t{{}}.{text}{ending}").reason in {
            "CSV_UNREADABLE",
            "JSON_UNREADABLE",
            "EMPTY_FILE",
        }


def test_other_tools_compressions_are_read(load: Load) -> None:
    assert load(gzip.compress(b"a\n1\n"), name="t{}.csv.gz").to_pydict() == {"a": [1]}
    assert load(bz2.compress(b'{"a": 1}'), name="t{}.jsonl.bz2").to_pydict() == {"a": [1]}


VALUES = st.one_of(st.none(), st.integers(-(2**62), 2**62))


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=30), st.integers(40, 200)
)
def test_rows_are_those_that_were_written_wherever_blocks_end(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, int | None]], block: int
) -> None:
    folder = tmp_path_factory.mktemp("json")
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_source, "BLOCK_BYTES", block + 80)
        if not any(objects):
            with pytest.raises(ScorestreamError, match="no field"):
                load_table([path], folder)
            return
        table = load_table([path], folder)
    rows = TableReader().head(table, 100).to_pylist()
    assert rows[0].keys() == {name for one in objects for name in one}
    assert rows == [{name: one.get(name) for name in rows[0]} for one in objects]
