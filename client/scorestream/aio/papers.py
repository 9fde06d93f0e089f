"""What a session and its jobs leave for people to read: logs, listings, results, reports."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from scorestream.outcomes import (
    LogLine,
    LogLineType,
    ResultLink,
    line_types,
    log_line,
    result_link,
    write_page,
)
from scorestream.v1 import job_service_pb2, log_service_pb2, report_service_pb2

from .connection import AsyncConnection


class AsyncPapers:
    """Of a session, or of one of its jobs. What a deleted job leaves is its session's."""

    _connection: AsyncConnection
    _papers_of: str

    async def log(
        self, *, follow: bool = False, after: int = 0, types: Iterable[LogLineType | str] = ()
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the lines of the log, oldest first.

        Args:
            follow: whether to go on with the lines to come, until the job is final or the session has ended; a lost
                connection is resumed.
            after: only lines behind the one with this `position`; 0: from the first one on.
            types: only lines of these types: ``normal``, ``source``, ``note``, ``warning``, ``error``, ``title``.

        Raises:
            FailedPreconditionError: the session has ended, and its log with it.
        """
        wanted = line_types(types)
        lines = self._followed(after, wanted) if follow else self._listed(after, wanted)
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def listing(self) -> str:
        """Return the listing: for each job, oldest first, a text with its figures and how its scores are distributed.

        Raises:
            FailedPreconditionError: the session has ended, and its listings with it.
        """
        request = report_service_pb2.ReadListingRequest(name=self._papers_of)
        texts: dict[str, str] = {}
        method = self._connection.reports.ReadListing
        # After a lost connection they come from the first one on, and take their own places.
        async with aclosing(self._connection.stream(method, lambda _: request, lambda _: 0, 0)) as messages:
            async for message in messages:
                texts[message.job] = message.text
        return "\n".join(texts.values())

    async def result_links(self) -> list[ResultLink]:
        """Return what the jobs have made, tables and files, and their reports, by job, oldest first.

        Raises:
            FailedPreconditionError: the session has ended, and its results with it.
        """
        found: list[ResultLink] = []
        request = report_service_pb2.ListResultsRequest(name=self._papers_of, page_size=1000)
        while True:
            answer = await self._connection.call(self._connection.reports.ListResults, request)
            found += [result_link(result) for result in answer.results]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def _listed(self, after: int, types: list[Any]) -> AsyncGenerator[LogLine, None]:
        request = log_service_pb2.ListLogLinesRequest(
            name=self._papers_of, types=types, after_line=after, page_size=1000
        )
        while True:
            answer = await self._connection.call(self._connection.logs.ListLogLines, request)
            for line in answer.lines:
                yield log_line(line)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def _followed(self, after: int, types: list[Any]) -> AsyncGenerator[LogLine, None]:
        def request(start: int) -> log_service_pb2.TailLogRequest:
            return log_service_pb2.TailLogRequest(
                name=self._papers_of, types=types, after_line=start, follow=True
            )

        def position(message: Any) -> int:
            return int(message.lines[-1].position)

        method = self._connection.logs.TailLog
        async with aclosing(self._connection.stream(method, request, position, after)) as messages:
            async for message in messages:
                for line in message.lines:
                    yield log_line(line)


class AsyncJobPapers(AsyncPapers):
    """Of a job."""

    async def report(self, path: str | Path | None = None, *, replace: bool = False) -> str:
        """Return the report: one HTML page with plots that needs nothing else.

        Args:
            path: a file of yours to write it to, too.
            replace: whether that file may be there already.

        Raises:
            FailedPreconditionError: the session has ended, and its reports with it.
            AlreadyExistsError: `path` is there and `replace` is false.
        """
        return await _report(self._connection, self._papers_of, path, replace=replace)

    async def delete(self) -> None:
        """Delete the job, which must be final, and its rows; tables and files that it made stay.

        Its log, listing and report are still to be had from its session.

        Raises:
            FailedPreconditionError: it is not final; cancel it first.
        """
        request = job_service_pb2.DeleteJobRequest(name=self._papers_of)
        await self._connection.call(self._connection.jobs.DeleteJob, request, repeat=False)


class AsyncSessionPapers(AsyncPapers):
    """Of a session."""

    async def report(self, job: str, path: str | Path | None = None, *, replace: bool = False) -> str:
        """Return the report of a job by its id, also of one that was deleted; as `Job.report`."""
        name = f"{self._papers_of}/results/report-{job}"
        return await _report(self._connection, name, path, replace=replace)


async def _report(connection: AsyncConnection, name: str, path: str | Path | None, *, replace: bool) -> str:
    request = report_service_pb2.GetReportRequest(name=name)
    html = str((await connection.call(connection.reports.GetReport, request)).html)
    if path is not None:
        write_page(Path(path), html, replace=replace)
    return html
