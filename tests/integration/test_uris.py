"""Tables from S3, over its own protocol: which URIs may be named, what they give, and what is told where that fails."""

import gzip
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import scorestream
from scorestream.cli.app import app
from scorestream_server.domain.errors import ScorestreamError
from scorestream_server.domain.table import InputFile
from scorestream_server.tables.paths import DataRoots
from scorestream_server.tables.sources import load_table
from served import served

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
ROWS = pa.table(
    {"id": range(3000), "a": [n / 4 for n in range(3000)], "s": [f"text {n}" for n in range(3000)]}
)


class Store(NamedTuple):
    """An S3 on this machine, with the bucket ``data``."""

    address: str
    settings: str
    system: pafs.S3FileSystem

    def put(self, path: str, content: bytes) -> str:
        """Put an object and return its URI."""
        with self.system.open_output_stream(f"data/{path}", compression=None) as stream:
            stream.write(content)
        return f"s3://data/{path}"

    def parquet(self, path: str, rows: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, row_group_size=1000)
        return self.put(path, bytes(sink.getvalue()))

    def arrow(self, path: str, rows: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        return self.put(path, bytes(sink.getvalue()))


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert any("Running on" in line for line in server.stderr)
            system = pafs.S3FileSystem(
                endpoint_override=address,
                scheme="http",
                region="us-east-1",
                access_key="key",
                secret_key="secret",
                allow_bucket_creation=True,
            )
            system.create_dir("data")
            yield Store(address, f"endpoint_override={address}&scheme=http&region=us-east-1", system)
        finally:
            server.kill()


@pytest.fixture(scope="module")
def client(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[scorestream.Client]:
    """A server whose only data root is a prefix of the bucket."""
    folder = tmp_path_factory.mktemp("uris")
    with served(folder, "--data-root", f"s3://data/in?{store.settings}", environment=KEYS) as (client, _):
        yield client


@pytest.fixture
def session(client: scorestream.Client) -> Iterator[scorestream.Session]:
    with client.create_session("uris") as session:
        yield session


def refused(call: Callable[[], object], kind: type[scorestream.ScorestreamError], reason: str) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.reason == reason
    return str(caught.value)


def load_of(session: scorestream.Session, uri: str) -> Callable[[], object]:
    return lambda: session.load_table(uri, name="t")


def test_d2_every_format_is_read_from_a_uri_into_the_cache(
    session: scorestream.Session, store: Store
) -> None:
    text = "".join(f"{n},{n / 4},text {n}\n" for n in range(3000))
    lines = "".join(json.dumps(row) + "\n" for row in ROWS.to_pylist())
    for uri in (
        store.put("in/f/rows.csv", f"id,a,s\n{text}".encode()),
        store.put("in/f/rows.csv.gz", gzip.compress(f"id,a,s\n{text}".encode())),
        store.put("in/f/rows.jsonl", lines.encode()),
        store.arrow("in/f/rows.arrow", ROWS),
        store.parquet("in/f/rows.parquet", ROWS),
    ):
        table = session.load_table(uri, replace=True)
        assert (table.name, table.info.backing_store, table.info.source_paths) == (
            "rows",
            "DISK_CACHE",
            (uri,),
        )
        assert table.read() == ROWS
    notes = [line.text for line in session.log() if "URI" in line.text]
    assert any("Parquet at a URI is copied into the cache" in note for note in notes)


def test_d2_directories_patterns_and_hive_at_a_uri(session: scorestream.Session, store: Store) -> None:
    for year, month in ((2023, 12), (2024, 1), (2024, 2)):
        store.parquet(f"in/h/year={year}/month={month:02}/x.parquet", pa.table({"v": [year + month]}))
    store.put("in/h/_SUCCESS", b"")
    store.put("in/h/year=2024/notes.txt", b"")
    whole = [{"v": y + m, "year": y, "month": m} for y, m in ((2023, 12), (2024, 1), (2024, 2))]
    assert session.load_table("s3://data/in/h/", name="h").read().to_pylist() == whole
    late = session.load_table("s3://data/in/h/year=2024/month=*/*.parquet", name="late").read()
    assert late.to_pylist() == [{"v": 2025, "month": 1}, {"v": 2026, "month": 2}]
    assert session.load_table("s3://data/in/h/**/x.parquet", name="deep").read().to_pylist() == whole


def test_d2_the_command_line_names_uris(
    client: scorestream.Client, session: scorestream.Session, store: Store
) -> None:
    uri = store.put("in/cli.csv", b"a\n1\n")
    words = ["table", "load", session.id, uri, "-o", "json", "--server", client.address]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["source_paths"] == [uri]


def test_uris_stay_under_the_data_roots(session: scorestream.Session, store: Store) -> None:
    """Whether or not there is something; nobody's settings but the operator's count."""
    store.put("elsewhere/x.csv", b"a\n1\n")
    store.put("inside/x.csv", b"a\n1\n")
    for uri in (
        "s3://data/elsewhere/x.csv",
        "s3://data/inside/x.csv",
        "s3://other/in/x.csv",
        "gs://data/in/x.csv",
        "s3://data",
    ):
        refused(
            load_of(session, uri),
            scorestream.PermissionDeniedError,
            "PATH_OUTSIDE_DATA_ROOTS",
        )
    for uri in (
        "s3://data/in/../elsewhere/x.csv",
        "s3://data/in//x.csv",
        "s3://key:secret@data/in/x.csv",
        "s3://data/in/x.csv?endpoint_override=evil.example:80",
        "s3://data/in/x.csv#a",
        "http://data/in/x.csv",
        "s3:///in/x.csv",
        "s3://data/in/x\n.csv",
    ):
        refused(
            load_of(session, uri),
            scorestream.InvalidArgumentError,
            "INVALID_PATH",
        )
    refused(
        lambda: session.load_table("file:///etc/hostname.csv", name="t"),
        scorestream.PermissionDeniedError,
        "PATH_OUTSIDE_DATA_ROOTS",
    )
    assert session.tables() == []


def test_what_is_not_there_or_not_allowed_is_told_with_its_uri(
    session: scorestream.Session, store: Store
) -> None:
    for uri in ("s3://data/in/none.csv", "s3://data/in/none/*.csv", "s3://data/in/none"):
        told = refused(load_of(session, uri), scorestream.NotFoundError, "FILE_NOT_FOUND")
        assert repr(uri) in told
        assert store.address not in told
    uri = store.put("in/rows.txt", b"")
    refused(lambda: session.load_table(uri, name="t"), scorestream.InvalidArgumentError, "UNSUPPORTED_FILE")
    uri = store.put("in/broken.csv", b"a,b\n1,2\n3\n")
    told = refused(
        lambda: session.load_table(uri, name="t"), scorestream.InvalidArgumentError, "CSV_BROKEN_LINE"
    )
    assert "Line 3 of 'broken.csv'" in told
    _only_known_keys(store, after=0)
    try:
        told = refused(
            lambda: session.load_table("s3://data/in/broken.csv", name="t"),
            scorestream.PermissionDeniedError,
            "FILE_NOT_READABLE",
        )
        assert "broken.csv" in told
    finally:
        _only_known_keys(store, after=1 << 40)


def _only_known_keys(store: Store, after: int) -> None:
    """Have the store refuse everybody, for it knows no keys, after so many calls."""
    request = urllib.request.Request(
        f"http://{store.address}/moto-api/reset-auth",
        data=str(after).encode(),
        headers={"Content-Type": "text/plain"},
    )
    urllib.request.urlopen(request).close()  # noqa: S310  the store of these tests


def test_an_output_to_a_uri_is_refused(client: scorestream.Client, session: scorestream.Session) -> None:
    model = client.register_model("uris_double", source="a * 2 AS twice")
    table = session.load_table(pa.table({"a": [1.0]}), name="t")
    with pytest.raises(scorestream.InvalidArgumentError, match="is a URI"):
        session.score(model, table, out_path="s3://data/in/out.parquet")


def test_a_source_that_changes_while_it_is_loaded_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    uri = store.put("in/changing.csv", b"a\n1\n")
    roots = DataRoots([f"s3://data?{store.settings}"])
    asked = 0

    def change() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            store.put("in/changing.csv", b"a\n1\n2\n")
        return False

    with pytest.raises(ScorestreamError) as caught:
        load_table(roots.inputs([uri]), tmp_path, cancelled=change)
    assert caught.value.reason == "SOURCE_CHANGED"
    assert list(tmp_path.iterdir()) == []


def test_file_systems_that_cannot_be_had_are_told(tmp_path: Path) -> None:
    for file, reason in {
        InputFile("hdfs://nowhere:1/x.csv"): "FILE_SYSTEM_UNAVAILABLE",
        InputFile("s3://data/x.csv", settings="no_such_setting=1"): "FILE_SYSTEM_UNAVAILABLE",
    }.items():
        with pytest.raises(ScorestreamError) as caught:
            load_table([file], tmp_path)
        assert (caught.value.reason, repr(file.path) in caught.value.message) == (reason, True)


@pytest.mark.parametrize(
    ("root", "told"),
    [("ftp://x/y", "no URI"), ("s3://key:secret@data", "credentials"), ("s3://data/../x", "empty name")],
)
def test_a_data_root_that_is_no_place_is_refused_at_the_start(tmp_path: Path, root: str, told: str) -> None:
    words: list[Any] = ["-m", "scorestream_server", "--data-dir", tmp_path, "--data-root", root]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
