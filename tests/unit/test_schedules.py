"""Schedules: when they are due, in every zone and on both days of daylight saving, and what is done about it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from hypothesis import assume, given
from hypothesis import strategies as st

from scorestream_server.config import Config
from scorestream_server.domain import schedule as schedules
from scorestream_server.domain.cron import Cron, checked, day_in
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.errors import ErrorCode, ScorestreamError
from scorestream_server.domain.process import Process
from scorestream_server.domain.schedule import ON_TIME_SECONDS, Missed, Schedule, decide, next_due
from scorestream_server.engine.deployed import DeployedJobs
from scorestream_server.engine.processes import Processes
from scorestream_server.engine.schedules import Schedules
from scorestream_server.store import processes as process_store
from scorestream_server.store import schedules as schedule_store
from scorestream_server.store.database import Database, migrate, open_engine

BERLIN = "Europe/Berlin"
SIGNAL = (
    '{"name": "com.modelop.mlc.definitions.Signals_DEPLOYED_BATCH_JOB", '
    '"variables": {"TAG": {"value": "cc-fraud"}, "MODEL_STAGE": {"value": "PROD"}}}'
)
ZONES = st.sampled_from(
    [
        "UTC",
        BERLIN,
        "America/New_York",
        "Australia/Lord_Howe",  # by half an hour
        "Africa/Casablanca",
        "Africa/Cairo",  # at midnight
        "America/Santiago",
        "Asia/Kathmandu",
        "Pacific/Apia",  # a day was left out
        "Pacific/Chatham",
        "Antarctica/Troll",  # by two hours
        "America/St_Johns",
    ]
)
MOMENTS = st.floats(
    datetime(2009, 1, 1, tzinfo=UTC).timestamp(), datetime(2037, 1, 1, tzinfo=UTC).timestamp()
)
DAILY = st.tuples(st.integers(0, 59), st.integers(0, 23))
EXPRESSIONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 * * * *",
        "0 * * * *",
        "0 */3 * * *",
        "*/20 2 * * *",
        "30 2 * * *",
        "0,30 1-3 * * *",
        "0 0 * * *",
        "59 23 L * *",
        "0 2 * * MON#1",
        "15 2 29 2 *",
    ]
)


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    """Return a moment as the clocks of a zone tell it."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def told(moments: list[float], zone: str = BERLIN) -> list[str]:
    return [datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%m-%d %H:%M %Z") for moment in moments]


def nightly(**changes: Any) -> Schedule:
    made = Schedule("nightly", "local", Cron("0 2 * * *", BERLIN), SIGNAL, Missed.ONCE, False, 0.0, 0.0)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("expression", "after", "until", "due"),
    [
        # The clock goes from 2:00 to 3:00 on March 29, and from 3:00 to 2:00 on October 25.
        ("30 2 * * *", "2026-03-28T12:00", "2026-03-30T12:00", ["03-29 03:00 CEST", "03-30 02:30 CEST"]),
        ("0,30 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["03-29 03:00 CEST"]),
        ("30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00", ["10-25 02:30 CEST", "10-26 02:30 CET"]),
        ("0 * * * *", "2026-03-29T00:30", "2026-03-29T03:30", ["03-29 01:00 CET", "03-29 03:00 CEST"]),
        (
            "0 * * * *",
            "2026-10-25T01:30",
            "2026-10-25T03:30",
            ["10-25 02:00 CEST", "10-25 02:00 CET", "10-25 03:00 CET"],
        ),
    ],
)
def test_daylight_saving_loses_nothing_and_doubles_nothing(
    expression: str, after: str, until: str, due: list[str]
) -> None:
    """A fixed time that is left out is due when the clock has been put forward, one that comes twice the first time."""
    assert told(list(checked(expression, BERLIN).due(at(after), at(until)))) == due


@given(ZONES, DAILY, MOMENTS)
def test_a_fixed_time_of_day_is_due_once_a_day(zone: str, time: tuple[int, int], start: float) -> None:
    """Between two midnights once, whatever the clocks do in between; at that time, where the clocks have it."""
    minute, hour = time
    day = datetime.fromtimestamp(start, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    after = (day + timedelta(days=1)).replace(fold=0)
    # A day that the zone has left out, or that begins within its own gap, has no midnight to count from.
    assume(all(moment.astimezone(UTC).astimezone(moment.tzinfo) == moment for moment in (day, after)))
    due = list(Cron(f"{minute} {hour} * * *", zone).due(day.timestamp() - 1, after.timestamp() - 1))
    assert len(due) == 1
    found = datetime.fromtimestamp(due[0], ZoneInfo(zone))
    wanted = day.replace(hour=hour, minute=minute)
    if wanted.astimezone(UTC).astimezone(wanted.tzinfo) == wanted:
        assert (found.hour, found.minute, found.fold) == (hour, minute, 0)
    else:
        assert found > wanted.astimezone(UTC) - timedelta(hours=3)


@given(ZONES, EXPRESSIONS, MOMENTS, st.lists(st.floats(0, 10 * 86_400), min_size=1, max_size=5))
def test_due_times_do_not_depend_on_when_one_looks(
    zone: str, expression: str, start: float, looks: list[float]
) -> None:
    """Looking often finds the same as looking once, in order: nothing is lost at a seam, and nothing found twice."""
    cron = Cron(expression, zone)
    moments = [start, *(start + look for look in sorted(looks))]
    limit = 2_000
    pieces = [due for after, until in pairwise(moments) for due in islice(cron.due(after, until), limit)]
    assume(len(pieces) < limit)
    assert pieces == list(cron.due(start, moments[-1]))
    assert all(first < second for first, second in pairwise(pieces))


@given(ZONES, EXPRESSIONS, MOMENTS, st.floats(0, 4 * 86_400), st.sampled_from(Missed))
def test_at_most_one_run_and_every_due_time_accounted_for(
    zone: str, expression: str, start: float, away: float, missed: Missed
) -> None:
    """The last due time runs, always or if it is on time; the others are counted as missed, and no more is due."""
    one = nightly(cron=Cron(expression, zone), handled_until=start, missed=missed)
    now = start + away
    due = list(one.cron.due(start, now))
    found = decide(one, now)
    assert decide(replace(one, paused=True), now) is None
    if not due:
        assert found is None
        return
    assert found is not None
    runs = missed is Missed.ONCE or now - due[-1] <= ON_TIME_SECONDS
    assert found.run == (due[-1] if runs else None)
    assert found.missed + (found.run is not None) == len(due)
    assert decide(replace(one, handled_until=now), now) is None
    soonest = next_due(replace(one, handled_until=now), now)
    assert soonest is not None
    assert soonest > now


def test_of_very_many_missed_runs_the_last_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting ends somewhere, the run does not suffer from it."""
    monkeypatch.setattr(schedules, "MOST_COUNTED", 10)
    one = nightly(cron=Cron("*/5 * * * *", BERLIN), handled_until=at("2026-01-01T00:00"))
    found = decide(one, at("2026-11-22T01:02"))
    assert found is not None
    assert told([found.run or 0]) == ["11-22 01:00 CET"]
    assert found.missed == 9


@given(st.text(max_size=30) | st.text("0123456789*/,-#L MON", max_size=20), st.text(max_size=20) | ZONES)
def test_any_text_is_a_schedule_or_is_refused_in_words(expression: str, zone: str) -> None:
    """Expressions and zones are a client's: whatever they are, what is let in has a next time."""
    try:
        cron = checked(expression, zone)
    except ScorestreamError as error:
        code, field = error.code, error.message.split(":")[0]
    else:
        assert cron.next(0.0) is not None
        return
    assert (code, field in {"cron", "time_zone"}) == (ErrorCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [
        ("0 2 * *", "UTC", "the five fields"),
        ("0 0 2 * * *", "UTC", "the five fields"),
        ("61 2 * * *", "UTC", "bad minute"),
        ("0 0 31 2 *", "UTC", "bad day-of-month"),
        ("0 2 * * *", "Europe/Berln", "did you mean Europe/Berlin?"),
        ("0 2 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(expression: str, zone: str, words: str) -> None:
    """With what was probably meant."""
    with pytest.raises(ScorestreamError) as caught:
        checked(expression, zone)
    assert words in caught.value.message


def test_the_day_is_that_of_the_schedules_zone() -> None:
    """Half past one in Berlin is yesterday still in UTC."""
    moment = at("2026-07-02T01:30")
    assert (day_in(BERLIN, moment), day_in("UTC", moment)) == ("2026-07-02", "2026-07-01")


class Bench:
    """Schedules over a real store, with a clock of the test's; what is signalled ends in an incident at once."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        self.now = at("2026-03-28T12:00")
        self.database = database
        config = Config(data_dir, None)
        # Finding a deployment takes the store alone, and none is there.
        unused = cast("Any", None)
        jobs = DeployedJobs(database, unused, unused, unused, unused, unused, unused)
        self.processes = Processes(config, database, unused, jobs)
        self.schedules = Schedules(database, self.processes, lambda: self.now)

    async def add(self, **changes: Any) -> Schedule:
        made = nightly(create_time=self.now, handled_until=self.now, **changes)
        return await self.database.write(lambda connection: schedule_store.create(connection, made, ""))

    async def get(self) -> Schedule:
        found = await self.database.read(lambda connection: schedule_store.find(connection, "nightly"))
        assert found is not None
        return found

    async def look(self, text: str) -> float | None:
        self.now = at(text)
        return await self.schedules.look()

    async def runs(self) -> list[Process]:
        found, _ = await self.database.read(
            lambda connection: process_store.page(
                connection, None, state=None, schedule_id="nightly", before=0, limit=100
            )
        )
        return [await self.processes.wait(one.id, None, 60.0, for_job=True) for one in found]


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    url = DataDirectory(tmp_path).database_url
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()
    database = Database(url, lambda _: None)
    made = Bench(database, tmp_path)
    yield made
    await made.schedules.close()
    await made.processes.close()
    await database.close()


async def test_a_due_time_runs_once_however_often_one_looks(bench: Bench) -> None:
    """On the day without a two o'clock, too; the run tells the schedule, the due time and its day."""
    await bench.add()
    assert await bench.look("2026-03-29T01:59") == at("2026-03-29T03:00")
    assert await bench.runs() == []
    for _ in range(3):
        assert await bench.look("2026-03-29T03:00") == at("2026-03-30T02:00")
    runs = await bench.runs()
    assert [(run.due_time, run.day, run.schedule_id) for run in runs] == [
        (at("2026-03-29T03:00"), "2026-03-29", "nightly")
    ]
    assert [run.incident_id != "" for run in runs] == [True]
    found = await bench.get()
    assert (found.last_process, found.last_due, found.missed_runs) == (runs[0].id, runs[0].due_time, 0)
    assert await bench.look("2026-03-28T12:00") == at("2026-03-30T02:00")  # the clock was put back
    assert len(await bench.runs()) == 1


@pytest.mark.parametrize(("missed", "runs", "without"), [(Missed.ONCE, 1, 3), (Missed.SKIP, 0, 4)])
async def test_runs_missed_while_no_server_was_there(
    bench: Bench, missed: Missed, runs: int, without: int
) -> None:
    """Four nights away: one run for the last of them, or none; either is shown."""
    await bench.add(missed=missed)
    await bench.look("2026-04-01T12:00")
    assert [told([run.due_time or 0]) for run in await bench.runs()] == [["04-01 02:00 CEST"]] * runs
    assert (await bench.get()).missed_runs == without
    await bench.look("2026-04-02T02:00")
    assert len(await bench.runs()) == runs + 1


async def test_a_paused_schedule_runs_when_asked_alone(bench: Bench) -> None:
    """By hand, as often as it is asked for, and a repeated request once."""
    one = await bench.add(paused=True)
    assert await bench.look("2026-04-01T12:00") is None
    assert await bench.runs() == []
    first = await bench.schedules.run(one, "same")
    assert (await bench.schedules.run(one, "same")).id == first.id
    second = await bench.schedules.run(one, "other")
    assert {run.id for run in await bench.runs()} == {first.id, second.id}
    assert (await bench.get()).last_process == second.id


async def test_a_schedule_that_is_deleted_while_it_is_looked_at_does_not_run(bench: Bench) -> None:
    """What was read before counts only where it still is so."""
    one = await bench.add()
    bench.now = at("2026-03-29T03:00")
    found = decide(one, bench.now)
    assert found is not None
    await bench.database.write(lambda connection: schedule_store.delete(connection, one.id))
    await bench.schedules._handle(one, found, bench.now)
    assert await bench.runs() == []


async def test_the_timer_runs_what_is_due(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs what became due before the server was there, and looks again at once when a schedule is made."""
    started, start = asyncio.Event(), bench.processes.start

    async def start_and_tell(*arguments: Any) -> Process:
        made = await start(*arguments)
        started.set()
        return made

    monkeypatch.setattr(bench.processes, "start", start_and_tell)
    await bench.add()
    bench.now = at("2026-03-29T03:00")
    bench.schedules.start()
    async with asyncio.timeout(60):
        await started.wait()
        started.clear()
        bench.now = at("2026-03-30T02:00")
        bench.schedules.changed()
        await started.wait()
    assert len(await bench.runs()) == 2
