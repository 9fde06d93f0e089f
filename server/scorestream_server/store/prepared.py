"""Statements that are on the way of every job: built by SQLAlchemy, compiled once, and given to the driver as they are.

SQLAlchemy's own way from a statement to its rows costs ten times what SQLite needs to run it (30 to 50 us against 3 to
5), and hundreds of short jobs a second run some 20 of them each. Rarer ones go through `sa.Connection.execute`.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa


class Prepared:
    """A statement whose text and order of parameters are found out when it is first run.

    Values go to the driver, and come from it, as they are: a flag comes as 0 or 1. Errors are SQLAlchemy's.

    Args:
        statement: with a `bindparam` for each value; no lists of values but of literals (see `one_of`).
        columns: those that an insert sets to values of their names.
    """

    def __init__(self, statement: sa.UpdateBase | sa.Select[Any], columns: Iterable[str] = ()) -> None:
        self._statement = statement
        self._columns = list(columns) or None
        self._text = ""
        self._names: Sequence[str] = ()
        self._fixed: Mapping[str, Any] = {}
        self._row: Callable[[Iterable[Any]], Any] | None = None

    def rows(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return the rows that it finds, with columns as attributes."""
        cursor = self._run(connection, values)
        if self._row is None:
            names = [column[0] for column in cursor.description]
            row: Any = namedtuple("Row", names)  # type: ignore[misc]  # noqa: PYI024  # the query says which
            self._row = row._make
        return list(map(self._row, cursor.fetchall()))

    def row(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:
        """Return the first row that it finds; None: there is none."""
        return next(iter(self.rows(connection, values)), None)

    def change(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """Return how many rows it changed."""
        return int(self._run(connection, values).rowcount)

    def insert(self, connection: sa.Connection, values: Mapping[str, Any]) -> int:
        """Insert a row, and return its number in the order of insertion."""
        return int(self._run(connection, values).lastrowid)

    def _run(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:
        if not self._text:
            self._compile(connection.dialect)
        given = {**self._fixed, **values} if self._fixed else values
        parameters = [given[name] for name in self._names]
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._text, parameters)
        except connection.dialect.loaded_dbapi.Error as error:
            base = connection.dialect.loaded_dbapi.Error
            raise sa.exc.DBAPIError.instance(self._text, parameters, error, base) from error
        return cursor

    def _compile(self, dialect: sa.Dialect) -> None:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=self._columns)
        self._names = compiled.positiontup
        self._fixed = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._text = str(compiled)  # the last, because it tells other threads that the rest is there


def one_of(column: sa.Column[str], names: Iterable[str]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these names of ours, which become part of the text."""
    return column.in_([sa.literal_column(f"'{name}'") for name in names])
