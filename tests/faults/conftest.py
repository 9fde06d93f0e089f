"""What the fault tests share: a forest that keeps workers busy, and a table to score with it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

from scorestream_server.tables.reading import LARGEST_IN_MEMORY

FEATURES = 12
ROWS = 400_000


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
    xgboost.train({"max_depth": 12, "nthread": 2}, data, 120).save_model(path)
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
