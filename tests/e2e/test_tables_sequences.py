"""Whatever several sessions do with tables over the same files, each of them finds what a plain model says."""

import itertools
import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import scorestream

LONG_RUNS = int(os.environ.get("TABLE_SEQUENCES_RUNS", "60"))
SESSIONS = st.integers(0, 2)
NAMES = st.sampled_from(["one", "two"])
FILES = st.sampled_from(["a.arrow", "b.arrow"])
Rows = tuple[float, ...]


@dataclass(frozen=True)
class TableModel:
    """A table as it must be.

    Attributes:
        rows: what it was made of.
        file: what it was loaded from; empty for rows that were sent.
        version: of that file, when it was loaded.
        in_place: whether it is read from there.
        seen: the version that a save of it may replace.
    """

    rows: Rows
    file: str = ""
    version: int = 0
    in_place: bool = False
    seen: int = 0


@dataclass
class FileModel:
    """A file as it must be: each change of it is another version; those that the server replaced are kept for readers."""

    rows: Rows
    version: int
    kept: set[int] = field(default_factory=set)


class TableSequences(RuleBasedStateMachine):
    """Three sessions, two files, two names for tables of each session and for global ones, which are session 3."""

    client: scorestream.Client
    model: scorestream.Model
    top: Path
    did: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tables-", dir=self.top))
        self.numbers = itertools.count(1)
        self.tables: dict[tuple[int, str], TableModel] = {}
        self.files: dict[str, FileModel] = {}

    @initialize()
    def begin(self) -> None:
        """Open the sessions, write the files for the first time, and have each session load both."""
        self.prefix = f"g{uuid.uuid4().hex[:8]}_"
        self.sessions = [self.client.create_session(f"{self.prefix}{number}") for number in range(3)]
        for name in ("a.arrow", "b.arrow"):
            self.changed_outside(name)
        for number in range(3):
            self.load(number, "one", "a.arrow", in_place=True)
            self.load(number, "two", "b.arrow", in_place=number > 0)

    @rule(name=FILES)
    def changed_outside(self, name: str) -> None:
        """Somebody who is no client puts another file in the place of one."""
        rows = self.new_rows()
        old = self.files.get(name)
        self.files[name] = FileModel(rows, next(self.numbers), old.kept if old else set())
        schema = pa.schema([("a", pa.float64())])
        beside = self.folder / f".{name}"
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(pa.table({"a": rows}, schema=schema))
        beside.rename(self.folder / name)

    @rule(number=SESSIONS, name=NAMES, file=FILES, in_place=st.booleans())
    def load(self, number: int, name: str, file: str, in_place: bool) -> None:
        """A load takes the file as it is now, and replaces a table."""
        store = "in_place_preferred" if in_place else "disk_cache"
        table = self.sessions[number].load_table(
            self.folder / file, self.named(name), replace=True, backing_store=store
        )
        now = self.files[file]
        self.tables[number, name] = TableModel(now.rows, file, now.version, in_place, now.version)
        assert table.rows == len(now.rows)

    @rule(number=SESSIONS, name=NAMES)
    def upload(self, number: int, name: str) -> None:
        """Rows that are sent have no source."""
        rows = self.new_rows()
        self.sessions[number].load_table(pa.table({"a": rows}), self.named(name), replace=True)
        self.tables[number, name] = TableModel(rows)

    @rule(number=SESSIONS, name=NAMES, append=st.booleans())
    def make(self, number: int, name: str, append: bool) -> None:
        """A job replaces a table with its result, or adds to it, as long as what it reads can be read."""
        source = self.find(number, name)
        if source is None:
            return
        job = self.sessions[number].score(
            self.model, self.named(name), out=self.named("made"), replace=not append, append=append
        )
        if not self.readable(source):
            self.did["job over a changed source"] += 1
            with pytest.raises(scorestream.JobFailedError, match="after the table was loaded"):
                job.wait(60)
            return
        self.did["job"] += 1
        job.wait(60)
        there = self.tables.get((number, "made"))
        before = there.rows if append and there is not None else ()
        self.tables[number, "made"] = TableModel((*before, *source.rows))
        self.read(number, "made")

    @rule(number=SESSIONS, name=NAMES)
    def save(self, number: int, name: str) -> None:
        """Back to where it came from: only over what it has seen; others go on with what they opened."""
        table = self.tables.get((number, name))
        if table is None or not table.file:
            return
        file = self.files[table.file]
        mine = self.sessions[number].table(self.named(name))
        if not self.readable(table):
            self.did["save of what is gone"] += 1
            with pytest.raises((scorestream.FailedPreconditionError, scorestream.AbortedError)):
                mine.save()
            return
        if table.seen != file.version:
            self.did["save that lost"] += 1
            with pytest.raises(scorestream.AbortedError):
                mine.save()
            return
        self.did["save"] += 1
        mine.save()
        file.kept.add(file.version)
        file.rows, file.version = table.rows, next(self.numbers)
        self.tables[number, name] = replace(table, seen=file.version)

    @rule(number=SESSIONS, name=NAMES)
    def promote(self, number: int, name: str) -> None:
        """It becomes the global one, in the place of whatever that was."""
        table = self.tables.pop((number, name), None)
        if table is None:
            return
        self.did["promote"] += 1
        self.sessions[number].table(self.named(name)).promote(replace=True)
        self.tables[3, name] = table

    @rule(number=SESSIONS, name=NAMES, to=SESSIONS, other=NAMES)
    def copy(self, number: int, name: str, to: int, other: str) -> None:
        """A copy goes its own way."""
        table = self.tables.get((number, name))
        if table is None or (number, name) == (to, other):
            return
        self.sessions[number].table(self.named(name)).copy(
            self.named(other), session=self.sessions[to], replace=True
        )
        self.did["copy"] += 1
        self.tables[to, other] = table

    @rule(number=st.integers(0, 3), name=NAMES)
    def drop(self, number: int, name: str) -> None:
        """What is dropped is not found any more; others that have its files keep them."""
        if self.tables.pop((number, name), None) is None:
            return
        self.at(number, name).drop()

    @rule(number=SESSIONS, name=NAMES)
    def read(self, number: int, name: str) -> None:
        """All rows that it was made of, or that its source changed; never anything else."""
        table = self.find(number, name)
        if table is None:
            with pytest.raises(scorestream.NotFoundError):
                self.sessions[number].table(self.named(name))
            return
        found = self.sessions[number].table(self.named(name))
        if self.readable(table):
            kept = table.in_place and table.version != self.files[table.file].version
            self.did["read of a kept version" if kept else "read"] += 1
            assert tuple(found.read().column(0).to_pylist()) == table.rows
            return
        self.did["read of a changed source"] += 1
        with pytest.raises(scorestream.FailedPreconditionError) as caught:
            found.read()
        assert caught.value.reason == "SOURCE_CHANGED"

    def teardown(self) -> None:
        """End the sessions, after a last look at everything, and drop what is global."""
        for number, name in self.tables:
            if number < 3:
                self.read(number, name)
        for session in self.sessions:
            session.terminate(cancel=True)
        for number, name in self.tables:
            if number == 3:
                if self.readable(self.tables[number, name]):
                    rows = self.at(3, name).read().column(0).to_pylist()
                    assert tuple(rows) == self.tables[number, name].rows
                self.at(3, name).drop()

    def at(self, number: int, name: str) -> Any:
        return (
            self.client.table(self.named(name))
            if number == 3
            else self.sessions[number].table(self.named(name))
        )

    def find(self, number: int, name: str) -> TableModel | None:
        return self.tables.get((number, name)) or self.tables.get((3, name))

    def readable(self, table: TableModel) -> bool:
        if not table.in_place:
            return True
        file = self.files[table.file]
        return table.version == file.version or table.version in file.kept

    def named(self, name: str) -> str:
        """Return a table's name as no other run has it: global ones are everybody's."""
        return f"{self.prefix}{name}"

    def new_rows(self) -> Rows:
        number = next(self.numbers)
        return tuple(float(number * 1000 + row) for row in range(number % 4 + 1))


@pytest.mark.parametrize(
    ("runs", "steps"),
    [
        pytest.param(9, 40, id="short"),
        pytest.param(LONG_RUNS, 50, marks=[pytest.mark.long, pytest.mark.timeout(1200)], id="long"),
    ],
)
def test_tables_are_as_their_model_whatever_is_done(
    local: scorestream.Client, tmp_path: Path, runs: int, steps: int, figures: Callable[[object], None]
) -> None:
    """Loads, changes from outside, saves, promotions, copies, drops and jobs; the short form is the same each time."""
    TableSequences.client, TableSequences.top, TableSequences.did = local, tmp_path, Counter()
    TableSequences.model = local.register_model("as_it_is", source="a AS a")
    few = settings(
        max_examples=runs,
        stateful_step_count=steps,
        derandomize=runs < 10,
        database=None,
        phases=[Phase.generate],  # a run that failed once may not fail again: time is no input
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    run_state_machine_as_test(TableSequences, settings=few)
    told = ", ".join(f"{name} {count:,}" for name, count in TableSequences.did.items())
    figures(f"sequences with tables: {told}")
