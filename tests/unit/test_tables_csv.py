"""CSV files become typed tables, whatever stands where in them, or are refused by line."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import FileFormat
from scorestream_server.tables import csv_source
from scorestream_server.tables.reading import TableReader
from scorestream_server.tables.sources import load_table

Load = Callable[..., pa.Table]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


@pytest.fixture
def load(tmp_path: Path, cache: Path) -> Load:
    """Write texts to files, load them as one table, and return its rows."""

    def run(*texts: str | bytes, name: str = "t{}.csv") -> pa.Table:
        paths = []
        for at, text in enumerate(texts):
            path = tmp_path / name.format(at)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            paths.append(path)
        table = load_table(paths, cache)
        assert table.format is FileFormat.CSV
        assert not table.in_place
        assert [Path(file.path).parent for file in table.files] == [cache]
        assert [file.path for file in table.sources] == [str(path) for path in paths]
        rows = TableReader().head(table, table.rows + 1)
        assert rows.num_rows == table.rows
        return rows.replace_schema_metadata({"notes": "|".join(table.notes)})

    return run


def fault(load: Load, *texts: str | bytes, name: str = "t{}.csv") -> ScorestreamError:
    with pytest.raises(ScorestreamError) as caught:
        load(*texts, name=name)
    return caught.value


def test_types_nulls_quotes_and_line_breaks_in_values(load: Load) -> None:
    rows = load('i,f,s,d,b\n1,1.5,"a,\n""b""",2024-01-31,true\n,NA,,,\n3,nan,é,2024-02-01,false\r\n')
    assert rows.schema.types == [pa.int64(), pa.float64(), pa.string(), pa.date32(), pa.bool_()]
    assert rows.column("i").to_pylist() == [1, None, 3]
    assert rows.column("f").to_pylist() == [1.5, None, None]
    assert rows.column("s").to_pylist() == ['a,\n"b"', None, "é"]


def test_bom_tsv_gzip_and_blank_lines(load: Load) -> None:
    assert load("\ufeffa,b\n1,2\n\n3,4\n").to_pydict() == {"a": [1, 3], "b": [2, 4]}
    assert load("a\tb\n1\tx,y\n", name="t{}.tsv").to_pydict() == {"a": [1], "b": ["x,y"]}
    assert load(gzip.compress(b"a\n1\n"), name="t{}.csv.gz").to_pydict() == {"a": [1]}


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "\ufeffa,b\r\n\r\n"])
def test_a_header_alone_is_an_empty_table_with_its_columns(load: Load, text: str) -> None:
    rows = load(text)
    assert (rows.column_names, rows.num_rows) == (["a", "b"], 0)


def test_a_column_without_values_is_a_number(load: Load) -> None:
    rows = load("a,b\n1,\n2,\n")
    assert rows.schema.field("b").type == pa.float64()
    assert rows.column("b").null_count == 2


@pytest.mark.parametrize(
    ("late", "kind", "value"),
    [
        ("1.5", pa.float64(), 1.5),
        ("99999999999999999999", pa.float64(), 1e20),
        ("abc", pa.string(), "abc"),
        (" 7 ", pa.int64(), 7),
    ],
)
def test_a_late_value_widens_its_column_as_if_it_stood_first(
    load: Load, monkeypatch: pytest.MonkeyPatch, late: str, kind: pa.DataType, value: object
) -> None:
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 256)
    rows = load("a,b\n" + "1,x\n" * 1000 + f"{late},y\n" + "2,z\n" * 1000)
    assert rows.schema.field("a").type == kind
    assert rows.column("a")[1000].as_py() == value
    assert rows.num_rows == 2001
    notes = (rows.schema.metadata or {})[b"notes"].decode()
    assert notes == (
        "column 'a' is text because of 'abc' in data row 1,001 of 't0.csv'" if late == "abc" else ""
    )


def test_a_column_that_begins_empty_takes_the_type_of_what_comes(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 256)
    rows = load("a,b,c,d\n" + "1,,,\n" * 500 + "1,2,w,2024-01-01 10:00:00\n")
    assert rows.schema.types == [pa.int64(), pa.int64(), pa.string(), pa.timestamp("us")]
    assert (rows.schema.metadata or {})[b"notes"] == b""


def test_a_column_of_numbers_and_truths_is_text_in_any_order(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_source, "BLOCK_BYTES", 64)
    assert load("a\n" + "5\n" * 50 + "true\n" * 50).schema.types == [pa.string()]
    assert load("a\n" + "true\n" * 50 + "5x\n" * 50).schema.types == [pa.string()]


def test_several_files_share_columns_and_types(load: Load) -> None:
    rows = load("a,b\n1,x\n", "b,a\ny,2.5\n", "a,b\n")
    assert rows.to_pydict() == {"a": [1.0, 2.5], "b": ["x", "y"]}
    error = fault(load, "a,b\n1,2\n", "a,c\n1,2\n")
    assert error.reason == "SCHEMA_MISMATCH"
    assert "'b' is missing in 't1.csv'" in error.message
    assert "'c' is only in 't1.csv'" in error.message


@pytest.mark.parametrize(
    ("text", "line", "start"),
    [
        ("a,b\n1,2\n3\n4,5\n", "3", "3"),
        ("a,b\n" + "1,2\n" * 5000 + "1,2,3 and more\n", "5002", "1,2,3 and more"),
        ('a,b\n1,"x\ny"\n\n3,4,5\n', "5", "3,4,5"),
    ],
)
def test_a_broken_line_is_named_with_its_beginning(
    load: Load, cache: Path, text: str, line: str, start: str
) -> None:
    error = fault(load, text)
    assert (error.reason, error.metadata["line"]) == ("CSV_BROKEN_LINE", line)
    assert "'t0.csv'" in error.message
    values = start.count(",") + 1
    counted = "1 value" if values == 1 else f"{values} values"
    assert f" has {counted} for 2 columns: {start!r}. Mend" in error.message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "EMPTY_FILE"),
        (b"\n\n", "EMPTY_FILE"),
        (b"a,a\n1,2\n", "BAD_COLUMN_NAMES"),
        (b"a,,c\n1,2,3\n", "BAD_COLUMN_NAMES"),
        ("a,b\n1,é\n".encode("utf-16"), "CSV_NOT_UTF8"),
        (b"a,b\n1,\xff\xfe\n", "CSV_NOT_UTF8"),
        (b"a,b\n" + b"1,x\n" * 2_000_000 + b"1,\xff\n", "CSV_NOT_UTF8"),
        (b'a,b\n1,"' + b"x" * 9_000_000, "CSV_BROKEN_LINE"),
    ],
)
def test_unreadable_files_are_refused_and_leave_nothing(
    load: Load, cache: Path, text: bytes, reason: str
) -> None:
    assert fault(load, text).reason == reason
    assert list(cache.iterdir()) == []


def test_a_damaged_gzip_is_refused(load: Load) -> None:
    whole = gzip.compress(b"a\n" + b"".join(b"%d\n" % (n * 7919) for n in range(100_000)))
    assert fault(load, whole[:-5000], name="t{}.csv.gz").reason == "CSV_UNREADABLE"
    assert fault(load, b"no gzip", name="t{}.csv.gz").reason == "CSV_UNREADABLE"


def test_cancelling_and_progress(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "1\n" * 300_000)
    seen: list[int] = []
    load_table([path], cache, report=seen.append)
    assert seen[-1] == 300_000
    (made,) = cache.iterdir()
    with pytest.raises(ScorestreamError) as caught:
        load_table([path], cache, cancelled=lambda: True)
    assert caught.value.reason == "CANCELLED"
    assert list(cache.iterdir()) == [made]
