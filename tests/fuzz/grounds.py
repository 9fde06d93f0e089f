"""A server's ground: files to load, models to register, and a place outside that nobody may reach."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import sklearn.ensemble
import treelite
import xgboost

from fuzz.texts import SCHEMA, score_code

FEATURES = 4
ROWS = 400


def rows() -> pa.Table:
    """Return a table that expressions and forests can be scored on."""
    rng = np.random.default_rng(7)
    arrays = {
        "i": rng.integers(-5, 1 << 40, ROWS),
        "j": rng.integers(-5, 5, ROWS).astype(np.int32),
        "x": rng.normal(size=ROWS),
        "y": rng.normal(size=ROWS).astype(np.float32),
        "s": np.array(["", "a", "é", "long enough to count"])[rng.integers(0, 4, ROWS)],
        "f": rng.integers(0, 2, ROWS).astype(bool),
    }
    columns = [
        pa.array(array, SCHEMA.field(name).type, mask=rng.random(ROWS) < 0.1)
        for name, array in arrays.items()
    ]
    features = [pa.array(rng.normal(size=ROWS).astype(np.float32)) for _ in range(FEATURES)]
    return pa.table([*columns, *features], [*SCHEMA.names, *names()])


def names() -> list[str]:
    """Return the names of the models' features."""
    return [f"f{number}" for number in range(FEATURES)]


def models() -> dict[str, bytes]:
    """Return small model files of every kind by name."""
    rng = np.random.default_rng(8)
    features, target = rng.normal(size=(300, FEATURES)), rng.normal(size=300)
    classes = rng.integers(0, 3, 300)
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(features, target, feature_names=names()), 3)
    multi = xgboost.train(
        {"max_depth": 2, "objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(features, classes), 2
    )
    linear = xgboost.train(
        {"booster": "gblinear", "objective": "multi:softprob", "num_class": 3},
        xgboost.DMatrix(features, classes, feature_names=names()),
        2,
    )
    quiet = {"verbosity": -1, "num_leaves": 7, "num_threads": 1}
    light = lightgbm.train(
        quiet | {"objective": "binary"}, lightgbm.Dataset(features, target > 0, feature_name=names()), 3
    )
    coded = np.column_stack([features[:, :3], classes])
    categorical = lightgbm.train(
        quiet, lightgbm.Dataset(coded, target, feature_name=names(), categorical_feature=[3]), 3
    )
    forest = sklearn.ensemble.RandomForestRegressor(3, max_depth=3, random_state=1).fit(features, target)
    return {
        "booster.ubj": bytes(booster.save_raw("ubj")),
        "booster.json": bytes(booster.save_raw("json")),
        "multi.ubj": bytes(multi.save_raw("ubj")),
        "linear.ubj": bytes(linear.save_raw("ubj")),
        "linear.json": bytes(linear.save_raw("json")),
        "light.txt": light.model_to_string().encode(),
        "categorical.txt": categorical.model_to_string().encode(),
        "forest.tl": treelite.sklearn.import_model(forest).serialize_bytes(),
        "code.sql": b"CASE WHEN x > 0 THEN i ELSE j END AS a, UPPER(s) AS b",
    }


def write_files(folder: Path, table: pa.Table) -> list[Path]:
    """Write the table in every format that can be loaded, small pages and groups included."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "rows.parquet", row_group_size=150)
    pq.write_table(
        table, folder / "plain.parquet", compression="none", use_dictionary=False, data_page_size=512
    )
    pq.write_table(table, folder / "zstd.parquet", compression="zstd", version="1.0", write_statistics=False)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, 100)
    packed = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        pa.OSFile(str(folder / "packed.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=packed) as w,
    ):
        w.write_table(table, 100)
    pacsv.write_csv(table, folder / "rows.csv")
    return sorted(folder.iterdir())


def upload_messages(table: pa.Table) -> tuple[bytes, list[bytes]]:
    """Return a table's Arrow messages: the schema's, and those of its batches."""
    batches = table.to_batches(max_chunksize=150)
    return table.schema.serialize().to_pybytes(), [batch.serialize().to_pybytes() for batch in batches]


@dataclass(frozen=True, slots=True)
class Ground:
    """Folders around a server.

    Attributes:
        root: its data root.
        outside: beside the root; two links lead there.
        files: loadable files in the root.
    """

    root: Path
    outside: Path
    files: Sequence[Path]

    @classmethod
    def make(cls, folder: Path) -> "Ground":
        """Lay out the folders."""
        root, outside = folder / "root", folder / "outside"
        outside.mkdir()
        pq.write_table(rows(), outside / "secret.parquet")
        files = write_files(root, rows())
        (root / "out").mkdir()
        (root / "link").symlink_to(outside)
        (root / "loop").symlink_to(root / "loop")
        return cls(root, outside, files)

    def untouched(self) -> bool:
        """Whether nothing was written outside."""
        return [path.name for path in self.outside.iterdir()] == ["secret.parquet"]


def blobs() -> dict[str, list[bytes]]:
    """Return bytes for the fields of requests by name."""
    schema, batches = upload_messages(rows())
    return {
        "arrow_schema": [schema],
        "arrow_batch": batches,
        "chunk": list(models().values()),
    }


def texts(ground: Ground) -> dict[str, list[str]]:
    """Return what fields of requests may sensibly hold, by name."""
    source = random.Random(9)
    return {
        "where": [score_code(source, predicate=True) for _ in range(200)],
        "keep": rows().column_names,
        "path": [str(path) for path in ground.files] + [path.name for path in ground.files],
        "out_path": [f"out/{number}.parquet" for number in range(20)],
        "out_table": [f"made{number}" for number in range(20)],
        "table_id": ["rows", *(f"t{number}" for number in range(20))],
        "model_id": ["m", "booster", "code"],
        "file_name": [*models(), "model"],
        "digest": [hashlib.sha256(content).hexdigest() for content in models().values()],
        "display_name": ["fuzz", "fuzz 1", "ScoringJob_Seg1"],
        "display_name_prefix": ["", "fuzz", "ScoringJob"],
        "request_id": [f"request-{number}" for number in range(50)],
    }
