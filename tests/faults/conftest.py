"""What the fault tests share: a forest that keeps workers busy, a table to score with it, and servers on bad disks."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import xgboost

from faults.bad_disk import BadDisk, build
from faults.bad_place import Place, rows
from scorestream_server.tables.parquet_reading import LARGEST_IN_MEMORY
from served import served

FEATURES = 12
ROWS = 400_000
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of deep trees, which are walked and therefore slow enough to be interrupted."""
    rng = np.random.default_rng(3)
    data = xgboost.DMatrix(
        rng.normal(size=(3000, FEATURES)),
        rng.normal(size=3000),
        feature_names=[f"f{i}" for i in range(FEATURES)],
    )
    path = tmp_path_factory.mktemp("forest") / "model.ubj"
    xgboost.train({"max_depth": 12, "nthread": 1, "max_bin": 32}, data, 120).save_model(path)
    return path


@pytest.fixture(scope="session")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file of rows with an id each."""
    rng = np.random.default_rng(4)
    columns = {f"f{i}": rng.normal(size=ROWS).astype(np.float32) for i in range(FEATURES)}
    path = tmp_path_factory.mktemp("customers") / "customers.parquet"
    pq.write_table(pa.table({"id": np.arange(ROWS), **columns}), path, row_group_size=100_000)
    return path


@pytest.fixture(scope="session")
def one_row_group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Parquet file of one row group that is too large to be kept in memory: 22 columns, 2 million rows."""
    rows = 2_000_000
    columns = {f"f{i}": np.full(rows, i, np.float32) for i in range(20)}
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    table = pa.table({"id": np.arange(rows), "half": np.arange(rows) / 2, **columns})
    pq.write_table(table, path, row_group_size=rows)
    assert table.nbytes > LARGEST_IN_MEMORY
    assert pq.read_metadata(path).num_row_groups == 1
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def ground(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ground")
    pacsv.write_csv(rows(), folder / "rows.csv")
    disk, data = BadDisk(library, folder / "rules"), folder / "data"
    flags = ("--device", "cpu", "--data-root", str(folder))
    with served(data, *flags, environment=disk.environment) as (client, server):
        client.register_model("double", source="x * 2 AS score")
        client.register_model("old", source="x * 0 AS score")
        session = client.create_session("ground")
        yield Place(client, server, disk, data, folder / "rows.csv", 0, folder, session)


@pytest.fixture
def place(ground: Place) -> Iterator[Place]:
    number = next(_NUMBERS)
    session = ground.client.create_session(f"place {number}")
    session.load_table(rows(), "rows")
    out = ground.out / f"out {number}"
    out.mkdir()
    yield replace(ground, number=number, out=out, session=session)
    ground.disk.heal()
