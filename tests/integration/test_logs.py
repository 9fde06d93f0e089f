"""Logs as clients follow them: live, resumed, filtered, paged, renumbered; bad requests; after a restart."""

import asyncio
import threading
from pathlib import Path

import pyarrow as pa
import pytest

import scorestream
import scorestream.aio
import scorestream.outcomes
from scorestream import FailedPreconditionError, InvalidArgumentError, LogLine, LogLineType, State
from scorestream.v1 import log_service_pb2
from served import served

ROWS = pa.table({"a": [float(number) for number in range(2_000)]})


@pytest.fixture
def job(client: scorestream.Client, session: scorestream.Session) -> scorestream.Job:
    """A job of ten partitions that has ended."""
    client.register_model("plain", source="a AS b")
    return session.score(
        "plain", session.load_table(ROWS, name="rows"), partition_rows=200, status_notification=True
    ).wait()


def pages(session: scorestream.Session, size: int, after: int = 0) -> list[LogLine]:
    """Return a session's log, read page by page of so many lines."""
    connection = session._connection
    request = log_service_pb2.ListLogLinesRequest(
        name=f"sessions/{session.id}", page_size=size, after_line=after
    )
    found: list[LogLine] = []
    while True:
        answer = connection.call(connection.logs.ListLogLines, request)
        assert len(answer.lines) <= size
        found += [scorestream.outcomes.log_line(line) for line in answer.lines]
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def test_a_follower_sees_lines_while_they_are_written(
    client: scorestream.Client, session: scorestream.Session
) -> None:
    """Following ends by itself with the job, and gives what is read afterwards, line by line."""
    client.register_model("plain", source="a AS b")
    rows = session.load_table(ROWS, name="rows")
    followed: list[LogLine] = []
    first = threading.Event()

    def follow() -> None:
        for line in session.log(follow=True):
            followed.append(line)
            first.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert first.wait(30)
    job = session.score("plain", rows, partition_rows=200)
    mine = list(job.log(follow=True))
    assert job.refresh().state is State.SUCCEEDED
    assert mine == list(job.log()) == list(job.log(follow=True))
    assert mine[-1].text.startswith("SUCCEEDED: 2,000 of 2,000 rows read")
    before = list(session.log())
    session.terminate()
    follower.join(30)
    assert not follower.is_alive()
    assert followed[:-1] == before
    assert followed[-1].text.endswith("ended: terminated by a client.")


def test_a_reader_goes_on_behind_any_line(job: scorestream.Job) -> None:
    """From any position: nothing is lost, nothing comes twice, whether it is followed or read."""
    lines = list(job.log())
    assert [line.number for line in lines] == list(range(lines[0].number, lines[0].number + len(lines)))
    for place, line in enumerate(lines):
        assert list(job.log(after=line.position)) == lines[place + 1 :]
        assert list(job.log(after=line.position, follow=True)) == lines[place + 1 :]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_pages_fit_together(job: scorestream.Job, session: scorestream.Session, size: int) -> None:
    """Whatever their size, also where a page ends within what was written together."""
    assert job.state is State.SUCCEEDED
    lines = list(session.log())
    assert pages(session, size) == lines
    assert pages(session, size, after=lines[3].position) == lines[4:]


def test_types_are_filtered(client: scorestream.Client, session: scorestream.Session) -> None:
    """Only lines of the types asked for, read and followed alike; errors are those that the job failed with."""
    client.register_model("plain", source="a AS b")
    job = session.score("plain", session.load_table(ROWS, name="rows"), where="a >= 0", keep=["a"])
    for types in (["source"], [LogLineType.NOTE, "title"], ["error"]):
        wanted = set(types)
        followed = list(job.log(follow=True, types=types))
        assert followed == [line for line in job.log() if line.type in wanted] == list(job.log(types=types))
    assert [line.text for line in job.log(types=["source"])] == [
        "score model plain@1 on table rows",
        "where a >= 0",
        "keep a",
    ]


def test_a_reset_numbers_from_0_and_pages_stand_still(
    job: scorestream.Job, session: scorestream.Session
) -> None:
    """Numbers begin again with the job that asks for it; a reader's position does not."""
    before = list(session.log())
    assert before[-1].job_id == job.id
    again = session.score("plain", "rows", reset_log_line_numbers=True).wait()
    lines = list(again.log())
    assert [line.number for line in lines] == list(range(len(lines)))
    assert list(session.log(after=before[-1].position)) == lines
    assert [line.position for line in [*before, *lines]] == sorted({line.position for line in session.log()})


def test_progress_is_in_the_log_only_where_it_was_asked_for(
    job: scorestream.Job, session: scorestream.Session
) -> None:
    """A line of type normal for each partition here; none unasked."""
    told = [line.text for line in job.log(types=["normal"])]
    assert len(told) == 10
    assert told[-1].startswith("2,000 of 2,000 rows done (100.0 %)")
    assert list(session.score("plain", "rows", partition_rows=200).wait().log(types=["normal"])) == []


def test_bad_requests_are_told(job: scorestream.Job, session: scorestream.Session) -> None:
    """What is no type, no place, no name."""
    with pytest.raises(InvalidArgumentError, match=r"'shout' is no type .*use normal, source"):
        list(job.log(types=["shout"]))
    connection = session._connection
    name = f"jobs/{job.id}"
    for request, told in (
        (log_service_pb2.ListLogLinesRequest(name=name, types=[99]), "99 is no type of line"),  # type: ignore[list-item]
        (log_service_pb2.ListLogLinesRequest(name=name, after_line=-1), "after_line must not be negative"),
        (log_service_pb2.ListLogLinesRequest(name=name, page_token="x"), "page_token"),
        (log_service_pb2.ListLogLinesRequest(name="tables/x"), "sessions/{session} or jobs/{job}"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            connection.call(connection.logs.ListLogLines, request)
    assert list(job.log(after=1 << 60)) == []


def test_many_follow_one_log(client: scorestream.Client, session: scorestream.Session) -> None:
    """Each of them sees every line once and in order, whenever it came."""
    client.register_model("plain", source="a AS b")
    session.load_table(ROWS, name="rows")

    async def follow(found: scorestream.aio.AsyncSession, begun: asyncio.Event) -> list[LogLine]:
        lines = []
        async for line in found.log(follow=True):
            begun.set()
            lines.append(line)
        return lines

    async def all_of_them() -> list[list[LogLine]]:
        async with await scorestream.aio.connect(client.address, token=client.token) as many:
            found = await many.get_session(session.id)
            begun = [asyncio.Event() for _ in range(40)]
            early = [asyncio.create_task(follow(found, event)) for event in begun[:20]]
            job = await found.score("plain", "rows", partition_rows=100, status_notification=True)
            late = [asyncio.create_task(follow(found, event)) for event in begun[20:]]
            await job.wait()
            # Whoever had not begun to read when the session ends would be told that it has ended.
            await asyncio.gather(*(event.wait() for event in begun))
            await found.terminate()
            return await asyncio.gather(*early, *late)

    followed = asyncio.run(all_of_them())
    whole = max(followed, key=len)
    assert len(whole) > 20
    assert all(lines == whole for lines in followed)
    with pytest.raises(FailedPreconditionError, match="ended with its session"):
        list(session.log())


def test_the_log_and_what_deleted_jobs_left_survive_a_restart(tmp_path: Path) -> None:
    """Lines, numbers and positions go on where they were; a deleted job's listing is there before and after."""
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        client.register_model("plain", source="a AS b")
        session = client.create_session("kept")
        job = session.score("plain", session.load_table(ROWS, name="rows"), name="deleted").wait()
        job.delete()
        lines, listing = list(session.log()), session.listing()
        assert "2,000 values" in listing
    with served(tmp_path / "data", "--device", "cpu") as (client, _):
        again = client.get_session("kept")
        assert list(again.log()) == lines
        assert again.listing() == listing
        assert again.jobs() == []
        later = list(again.score("plain", "rows").wait().log())
        assert later[0].number == lines[-1].number + 1
        assert later[0].position > lines[-1].position
