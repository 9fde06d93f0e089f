"""A client can name files under the data roots, and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.table import Destination, OutputFormat
from scorestream_server.tables.paths import DataRoots


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two roots, ``a`` and ``b``, and a secret beside them."""
    for name in ("a/x.csv", "a/sub/y.csv", "b/only_b.csv", "b/x.csv", "secret/s.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v\n1\n")
    return tmp_path


@pytest.fixture
def roots(tree: Path) -> DataRoots:
    return DataRoots([tree / "a", tree / "b"])


def reason(call: Callable[..., object], *args: object, **options: object) -> str:
    with pytest.raises(ScorestreamError) as caught:
        call(*args, **options)
    return caught.value.reason


def test_a_relative_path_is_found_in_the_first_root_that_has_it(tree: Path, roots: DataRoots) -> None:
    assert roots.resolve("x.csv") == tree / "a/x.csv"
    assert roots.resolve("only_b.csv") == tree / "b/only_b.csv"
    assert roots.resolve("sub/../x.csv") == tree / "a/x.csv"
    assert roots.resolve(str(tree / "b/x.csv")) == tree / "b/x.csv"


def test_every_way_out_of_the_roots_is_refused_whether_or_not_the_file_exists(
    tree: Path, roots: DataRoots
) -> None:
    (tree / "a/link").symlink_to(tree / "secret")
    (tree / "a/dangling").symlink_to(tree / "nowhere")
    (tree / "a/loop").symlink_to(tree / "a/loop")
    (tree / "ab").mkdir()
    (tree / "ab/s.csv").write_text("v\n")
    for text in (
        "../secret/s.csv",
        "../secret/none.csv",
        "sub/../../secret/s.csv",
        "link/s.csv",
        "link/none.csv",
        "dangling",
        str(tree / "secret/s.csv"),
        str(tree / "secret/none.csv"),
        str(tree / "ab/s.csv"),  # shares a root's name as a prefix
        "/etc/passwd",
        "/",
        "..",
    ):
        with pytest.raises(ScorestreamError) as caught:
            roots.resolve(text)
        assert (caught.value.code, caught.value.reason) == (
            ErrorCode.PERMISSION_DENIED,
            "PATH_OUTSIDE_DATA_ROOTS",
        ), text
        assert repr(text) in caught.value.message
    assert reason(roots.resolve, "loop") == "FILE_NOT_FOUND"


def test_what_is_no_path_is_refused(roots: DataRoots) -> None:
    for text in ("", "x\0.csv", "\ud800.csv", "s3://bucket/x.csv", "file:///etc/passwd", "a/" * 4000):
        assert reason(roots.resolve, text) == "INVALID_PATH", text[:20]


def test_encoded_tricks_and_tildes_are_plain_characters(roots: DataRoots) -> None:
    for text in ("%2e%2e/secret/s.csv", "..%2fsecret", "~/x.csv", "..\\secret\\s.csv", "n" * 300, "no.csv"):
        assert reason(roots.resolve, text) == "FILE_NOT_FOUND", text[:20]


def test_no_roots_allow_nothing_and_none_allows_everything(tree: Path) -> None:
    assert reason(DataRoots([]).resolve, "x.csv") == "PATH_OUTSIDE_DATA_ROOTS"
    assert reason(DataRoots([]).output, "x.csv") == "PATH_OUTSIDE_DATA_ROOTS"
    assert DataRoots(None).resolve(str(tree / "secret/s.csv")) == tree / "secret/s.csv"
    assert reason(DataRoots(None).resolve, str(tree / "none")) == "FILE_NOT_FOUND"


def test_a_directory_gives_its_data_files_sorted_without_hidden_ones(tree: Path, roots: DataRoots) -> None:
    for name in (
        ".h.csv",
        "_SUCCESS",
        "_m.csv",
        "notes.txt",
        ".git/z.csv",
        "_tmp/z.csv",
        "sub/b.TSV",
        "sub/a.csv.gz",
    ):
        path = tree / "a" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("v\n1\n")
    (tree / "a/to_b.csv").symlink_to(tree / "b/only_b.csv")
    found = roots.inputs([str(tree / "a")])
    assert [Path(file.path).name for file in found] == ["a.csv.gz", "b.TSV", "y.csv", "x.csv", "only_b.csv"]
    assert [Path(file.path) for file in roots.inputs(["x.csv", "sub/y.csv"])] == [
        tree / "a/x.csv",
        tree / "a/sub/y.csv",
    ]


def test_a_link_out_of_the_root_inside_a_directory_is_refused(tree: Path, roots: DataRoots) -> None:
    (tree / "a/sub/out.csv").symlink_to(tree / "secret/s.csv")
    assert reason(roots.inputs, ["sub"]) == "PATH_OUTSIDE_DATA_ROOTS"


def test_bad_inputs_are_refused_by_name(tree: Path, roots: DataRoots) -> None:
    (tree / "a/empty").mkdir()
    (tree / "a/model.bin").write_bytes(b"")
    (tree / "a/p.parquet").write_bytes(b"")
    os.mkfifo(tree / "a/pipe.csv")
    assert reason(roots.inputs, []) == "NO_INPUT_FILES"
    assert reason(roots.inputs, ["empty"]) == "NO_INPUT_FILES"
    assert reason(roots.inputs, ["model.bin"]) == "UNSUPPORTED_FILE"
    assert reason(roots.inputs, ["pipe.csv"]) == "UNSUPPORTED_FILE"
    ending = (
        r"^The file 'model.bin' cannot be a table: its ending is unknown; a data file ends with .*\.ipc\.$"
    )
    with pytest.raises(ScorestreamError, match=ending):
        roots.inputs(["model.bin"])
    with pytest.raises(ScorestreamError, match=r"holds no data file: a data file ends with .*\.ipc\.$"):
        roots.inputs(["empty"])
    with pytest.raises(ScorestreamError, match=r"'x.csv' is csv, 'p.parquet' is parquet"):
        roots.inputs(["x.csv", "p.parquet"])


def test_an_output_goes_beside_existing_files_and_its_ending_says_the_format(
    tree: Path, roots: DataRoots
) -> None:
    assert roots.output("o.parquet") == Destination(str(tree / "a/o.parquet"), OutputFormat.PARQUET)
    assert roots.output("sub/o.feather").format is OutputFormat.ARROW
    assert roots.output(str(tree / "b/o.CSV")) == Destination(str(tree / "b/o.CSV"), OutputFormat.CSV)
    assert roots.output("out").format is OutputFormat.DATASET
    assert roots.output("o.parquet/").format is OutputFormat.DATASET


def test_an_output_cannot_leave_the_roots_or_have_a_strange_name(tree: Path, roots: DataRoots) -> None:
    (tree / "a/link").symlink_to(tree / "secret")
    for text in ("../o.csv", "link/o.csv", str(tree / "secret/o.csv"), "/tmp/o.csv", str(tree / "o.csv")):  # noqa: S108  must be refused
        assert reason(roots.output, text) == "PATH_OUTSIDE_DATA_ROOTS", text
    for text in (
        ".hidden.csv",
        "_o.csv",
        "a\n.csv",
        "..",
        ".",
        "/",
        "o.csv\0",
        "-rf.csv",
        "o" * 250 + ".csv",
        "ü.csv",
    ):
        assert reason(roots.output, text) == "INVALID_PATH", text
    assert reason(roots.output, "none/o.csv") == "OUTPUT_DIRECTORY_NOT_FOUND"
    assert reason(roots.output, "o.xlsx") == "UNSUPPORTED_OUTPUT"
