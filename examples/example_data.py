"""Data sets for examples, by the name of the function that ML Server's programs get them with."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Dataset:
    """A data set in a CSV file beside this one."""

    file: Path

    def as_df(self) -> pd.DataFrame:
        """Return its rows; what identifies them is the index."""
        return pd.read_csv(self.file, index_col=0)


def get_dataset(name: str) -> Dataset:
    """Return a data set by its name: ``mtcars``."""
    file = HERE / f"{name}.csv"
    if not file.is_file():
        raise FileNotFoundError(f"There is no data set {name!r} in {HERE}.")
    return Dataset(file)
