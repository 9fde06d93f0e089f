"""The ReportService."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import sqlalchemy as sa

from scorestream.v1 import report_pb2, report_service_pb2, report_service_pb2_grpc
from scorestream_server.api import convert, names, paging
from scorestream_server.api.auth import Context, reach_of, require_owner
from scorestream_server.domain.job import Job
from scorestream_server.domain.log import printable
from scorestream_server.domain.session import require_not_ended
from scorestream_server.engine.expiry import SessionExpiry
from scorestream_server.engine.papers import Papers
from scorestream_server.report.listing import listing
from scorestream_server.report.report import report
from scorestream_server.store import jobs as job_store
from scorestream_server.store import papers as paper_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database

JOBS_READ = 100
_REPORT = re.compile(r"sessions/([A-Za-z0-9-]{1,64})/results/report-([A-Za-z0-9-]{1,64})")


class ReportService(report_service_pb2_grpc.ReportServiceServicer):
    """What jobs leave for people: listings, results, reports."""

    def __init__(self, database: Database, papers: Papers, expiry: SessionExpiry) -> None:
        self._database = database
        self._papers = papers
        self._expiry = expiry

    async def ReadListing(
        self, request: report_service_pb2.ReadListingRequest, context: Context
    ) -> AsyncIterator[report_service_pb2.ReadListingResponse]:
        """Stream the listings of a job or a session."""
        session_id, only = await self._of(request.name, context)
        jobs, more = ([only], 0) if only else await self._page(session_id, 0, JOBS_READ)
        while True:
            for job in jobs:
                paper = await self._papers.paper(job)
                self._expiry.seen(session_id)
                text = await asyncio.to_thread(listing, paper)
                yield report_service_pb2.ReadListingResponse(job=convert.job_name(job.id), text=text)
            if not more:
                return
            jobs, more = await self._page(session_id, more, JOBS_READ)

    async def ListResults(
        self, request: report_service_pb2.ListResultsRequest, context: Context
    ) -> report_service_pb2.ListResultsResponse:
        """List the results of a job or a session."""
        limit, after = paging.size(request.page_size), paging.position(request.page_token)
        session_id, only = await self._of(request.name, context)
        jobs, more = ([only], 0) if only else await self._page(session_id, after, limit)
        results = await asyncio.to_thread(lambda: [result for job in jobs for result in _results(job)])
        return report_service_pb2.ListResultsResponse(
            results=results, next_page_token=str(more) if more else ""
        )

    async def GetReport(
        self, request: report_service_pb2.GetReportRequest, context: Context
    ) -> report_service_pb2.GetReportResponse:
        """Return the report of a job."""
        found = _REPORT.fullmatch(request.name)
        if found is None:
            _, job = await self._of(f"jobs/{names.job_id('name', request.name)}", context)
        else:
            session_id, _ = await self._of(f"sessions/{found[1]}", context)
            job = await self._database.read(
                lambda connection: paper_store.find(connection, session_id, found[2])
            )
        assert job is not None  # noqa: S101  # for the type checker: a job was named
        paper = await self._papers.paper(job)
        return report_service_pb2.GetReportResponse(html=await asyncio.to_thread(report, paper))

    async def _of(self, name: str, context: Context) -> tuple[str, Job | None]:
        """Return the session that is named, or that of the job that is named, and that job."""
        session_id, job_id = names.session_or_job_id("name", name)
        owner = reach_of(context)

        def read(connection: sa.Connection) -> tuple[str, Job | None]:
            job = job_store.get(connection, job_id, owner) if job_id else None
            session = session_store.get(connection, job.session_id if job else session_id, owner)
            require_owner(context, session.owner)
            require_not_ended(session, "This")
            return session.id, job

        session_id, job = await self._database.read(read)
        self._expiry.seen(session_id)
        return session_id, job

    async def _page(self, session_id: str, after: int, limit: int) -> tuple[list[Job], int]:
        return await self._database.read(
            lambda connection: paper_store.page(connection, session_id, after, limit)
        )


def _results(job: Job) -> Iterator[report_pb2.Result]:
    """Yield what a job has made, then its report."""
    session = convert.session_name(job.session_id)

    def result(kind: "report_pb2.ResultType.ValueType", key: str, name: str, link: str) -> report_pb2.Result:
        return report_pb2.Result(
            name=f"{session}/results/{key}",
            type=kind,
            display_name=name,
            job=convert.job_name(job.id),
            job_display_name=job.name,
            link=link,
            create_time=convert.timestamp(job.end_time or job.create_time),
        )

    if job.spec.out_table and job.outputs:
        yield result(report_pb2.RESULT_TYPE_LIBRARY, f"library-{job.id}", "session tables", session)
        link = f"{session}/tables/{job.spec.out_table}"
        table = result(report_pb2.RESULT_TYPE_TABLE, f"table-{job.id}", job.spec.out_table, link)
        table.size_bytes = job.stored_bytes
        yield table
    elif job.spec.destination:
        for place, path in enumerate(job.outputs):
            file = result(report_pb2.RESULT_TYPE_FILE, f"file-{job.id}-{place}", Path(path).name, path)
            file.size_bytes = _size(path)
            yield file
    key = f"report-{job.id}"
    yield result(
        report_pb2.RESULT_TYPE_REPORT, key, f"Report of {printable(job.name)}", f"{session}/results/{key}"
    )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # somebody moved it: it is the operator's folder
        return 0
