# Generated from aio/client.py by tools/generate.py. Change that file, not this one.
"""The client of one server."""

import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from scorestream import transport
from scorestream.access import Access, access_to
from scorestream.context_wire import context_name
from scorestream.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from scorestream.private_server import PrivateServer
from scorestream.records import Device, Event, Role, StatusRow, TokenInfo
from scorestream.settings import Engine
from scorestream.v1 import (
    device_service_pb2,
    job_service_pb2,
    session_service_pb2,
    token_service_pb2,
)
from scorestream.wire import (
    checked_address,
    device,
    duration,
    job_info,
    job_name,
    role_number,
    session_info,
    session_name,
    status_row,
    token_info,
)

from . import waiting
from .cache import Cache
from .connection import Connection
from .contexts import Contexts
from .job import Job
from .operations import Operations
from .options import list_engines
from .registry import Registry
from .services import Services
from .session import Session, list_jobs
from .shared_tables import SharedTables

DEFAULT_ADDRESS = "127.0.0.1:8500"
DEFAULT_PATIENCE = 15.0


class Client(SharedTables, Registry, Services, Operations):
    """A client of one server. Close it, or use it as a context manager.

    Args:
        connection: how the server is reached.
        server: the private server that is to end with this client, if it has one.
    """

    def __init__(self, connection: Connection, server: PrivateServer | None = None) -> None:
        self._connection = connection
        self._server = server

    def __repr__(self) -> str:
        return f"<Client of {self.address}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """The server's address, ``host:port``."""
        return self._connection.address

    @property
    def token(self) -> str:
        """The token that it calls with, for example for a second client of a private server; empty: none."""
        return self._connection.token

    @property
    def contexts(self) -> Contexts:
        """The contexts that sessions are made from."""
        return Contexts(self._connection)

    @property
    def cache(self) -> Cache:
        """The server's disk cache."""
        return Cache(self._connection)

    def close(self) -> None:
        """Close the connection, and end the private server if there is one. Jobs of a shared server go on."""
        self._connection.close()
        if self._server is not None:
            transport.run(self._server.stop)

    def create_session(
        self,
        name: str = "",
        *,
        weight: int = 0,
        inactive_timeout: float | None = None,
        context: str = "",
        queue: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Session:
        """Open a session.

        Args:
            name: for people; empty: the server makes one up.
            weight: its share of the server while other sessions want it too, from 1 to 1000; 0 means 100.
            inactive_timeout: seconds after which it ends, with its tables and results, when nobody asks for anything
                of it, follows it, or has a job in it; 0: never. None: as its context says, usually 15 minutes.
            context: the name of the context that it is made from; empty: ``default``.
            queue: where its jobs wait, unless its context names a queue, which wins; empty: ``default``.
            labels: words of your own for it, by name.
        """
        request = session_service_pb2.CreateSessionRequest(
            display_name=name,
            weight=weight,
            request_id=uuid.uuid4().hex,
            context=context_name(context) if context else "",
            queue=queue,
            labels=labels,
        )
        if inactive_timeout is not None:
            request.inactive_timeout.CopyFrom(duration(inactive_timeout, "inactive_timeout"))
        answer = self._connection.call(self._connection.sessions.CreateSession, request)
        return Session(self._connection, session_info(answer))

    def get_session(self, session: str) -> Session:
        """Return a session by its id, or by its name if only one open session has it.

        Raises:
            NotFoundError: there is none; FailedPreconditionError: several have that name.
        """
        request = session_service_pb2.GetSessionRequest(name=session_name(session))
        try:
            answer = self._connection.call(self._connection.sessions.GetSession, request)
            return Session(self._connection, session_info(answer))
        except (NotFoundError, InvalidArgumentError) as error:
            named = [found for found in self.sessions(session) if found.name == session]
            if not named:
                raise NotFoundError(
                    f"There is no session {session!r}, neither by id nor by name.", reason="SESSION_NOT_FOUND"
                ) from error
            if len(named) > 1:
                ids = ", ".join(found.id for found in named)
                raise FailedPreconditionError(
                    f"{len(named)} sessions are called {session!r}; use an id: {ids}.",
                    reason="AMBIGUOUS_NAME",
                ) from None
            return named[0]

    def sessions(
        self, prefix: str = "", *, include_ended: bool = False, labels: Mapping[str, str] | None = None
    ) -> list[Session]:
        """Return your sessions (an admin: everybody's) whose name begins with `prefix`, oldest first.

        Args:
            prefix: what the name begins with; empty: all.
            include_ended: whether ended ones are among them.
            labels: only those that have all of these.
        """
        found: list[Session] = []
        request = session_service_pb2.ListSessionsRequest(
            display_name_prefix=prefix, include_ended=include_ended, page_size=1000, labels=labels
        )
        while True:
            answer = self._connection.call(self._connection.sessions.ListSessions, request)
            found += [Session(self._connection, session_info(session)) for session in answer.sessions]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def status(self, prefix: str = "") -> list[StatusRow]:
        """Return the status of every job of the sessions whose name begins with `prefix`, in one call."""
        request = session_service_pb2.GetStatusRequest(display_name_prefix=prefix)
        answer = self._connection.call(self._connection.sessions.GetStatus, request)
        return [status_row(row) for row in answer.rows]

    def watch(
        self,
        prefix: str = "",
        *,
        sessions: Sequence[Session | str] = (),
        after: int = 0,
        until_final: bool = False,
    ) -> Generator[Event, None]:
        """Yield the events of many sessions as they happen; a lost connection is resumed.

        Args:
            prefix: only sessions whose name begins with it, those that are created later too.
            sessions: only these sessions, given as such or by id.
            after: only events with a higher number; 0: from the beginning.
            until_final: end once every job of these sessions that exists is final.
        """
        ids = [session if isinstance(session, str) else session.id for session in sessions]
        events = waiting.watch_sessions(
            self._connection, sessions=ids, prefix=prefix, after=after, until_final=until_final
        )
        with closing(events):
            yield from events

    def get_job(self, job: str) -> Job:
        """Return a job by its id, from whichever client it was started."""
        request = job_service_pb2.GetJobRequest(name=job_name(job))
        answer = self._connection.call(self._connection.jobs.GetJob, request)
        return Job(self._connection, job_info(answer))

    def jobs(self, *, limit: int | None = None) -> list[Job]:
        """Return the jobs of all your sessions (an admin: of everybody's), newest first, at most `limit` of them."""
        return list_jobs(self._connection, "", limit)

    def as_completed(self, jobs: Iterable[Job], timeout: float | None = None) -> Generator[Job, None]:
        """Yield each job, refreshed, as soon as it is final, however it ended: look at its `state`.

        Raises:
            DeadlineExceededError: not all were final within `timeout` seconds.
        """
        with closing(waiting.completed(self._connection, jobs, timeout)) as final:
            for job in final:
                yield job.refresh()

    def wait_any(self, jobs: Iterable[Job], timeout: float | None = None) -> Job:
        """Return the first job that is final, however it ended: look at its `state`.

        Raises:
            DeadlineExceededError: none was final within `timeout` seconds.
        """
        return waiting.wait_any(self._connection, jobs, timeout)

    def wait_all(self, jobs: Iterable[Job], timeout: float | None = None) -> list[Job]:
        """Return the jobs, in the order given, when all are final and went well.

        Raises:
            JobFailedError: all are final and one or several ended badly; `faults` names each.
            DeadlineExceededError: not all were final within `timeout` seconds.
        """
        return waiting.wait_all(self._connection, jobs, timeout)

    def create_token(
        self, principal: str, *, role: Role | str = Role.USER, label: str = "", lifetime: float | None = None
    ) -> TokenInfo:
        """Make a token for somebody, and return it with its secret, which is never shown again. For admins.

        Args:
            principal: name of whoever will call with it; what they make belongs to that name.
            role: ``user`` or ``admin``.
            label: a note, for example where it is used.
            lifetime: seconds for which it is good; None: until it is revoked.
        """
        request = token_service_pb2.CreateTokenRequest(
            principal=principal, role=role_number(role), label=label
        )
        if lifetime is not None:
            request.lifetime.CopyFrom(duration(lifetime, "lifetime"))
        answer = self._connection.call(self._connection.tokens.CreateToken, request, repeat=False)
        return token_info(answer.token, answer.secret)

    def tokens(self) -> list[TokenInfo]:
        """Return all tokens, oldest first, those that are good no more too. For admins."""
        found: list[TokenInfo] = []
        request = token_service_pb2.ListTokensRequest(page_size=1000)
        while True:
            answer = self._connection.call(self._connection.tokens.ListTokens, request)
            found += [token_info(token) for token in answer.tokens]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def revoke_token(self, token: str) -> TokenInfo:
        """Revoke a token by its id, from now on and for streams that it opened, and return it. For admins."""
        request = token_service_pb2.RevokeTokenRequest(name=f"tokens/{token}")
        return token_info(self._connection.call(self._connection.tokens.RevokeToken, request))

    def devices(self) -> list[Device]:
        """Return the GPUs that the server may use, and its CPU, with how busy they are."""
        request = device_service_pb2.ListDevicesRequest()
        answer = self._connection.call(self._connection.devices.ListDevices, request)
        return [device(found) for found in answer.devices]

    def engines(self) -> list[Engine]:
        """Return what the server can work with: devices, file formats and kinds of models, with versions and limits."""
        return list_engines(self._connection)

    def watch_devices(self, interval: float = 1.0) -> Generator[list[Device], None]:
        """Yield what `devices` returns, now and then again and again; a lost connection is resumed.

        Args:
            interval: seconds from one reading to the next, 0.25 to 3600.

        Raises:
            InvalidArgumentError: `interval` is outside of that.
        """
        request = device_service_pb2.WatchDevicesRequest(interval=duration(interval, "interval"))
        method = self._connection.devices.WatchDevices
        # A reading is as good as any other: there is no place to go on from.
        readings = self._connection.stream(method, lambda _: request, lambda _: 0, 0)
        with closing(readings):
            for reading in readings:
                yield [device(found) for found in reading.devices]


def connect(
    address: str = DEFAULT_ADDRESS,
    *,
    token: str | None = None,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    patience: float = DEFAULT_PATIENCE,
) -> Client:
    """Return a client of the server at `address`; the first call reaches out to it.

    A token is only ever sent by TLS, or to this very machine.

    Args:
        address: ``host:port``.
        token: who you are to the server; None: what ``SCORESTREAM_TOKEN`` holds.
        tls_ca: file (PEM) with the CA of the server's certificate, which makes this a TLS connection; None: what
            ``SCORESTREAM_TLS_CA`` names.
        tls_cert: file (PEM) with your own certificate, for a server that asks for one; None: what
            ``SCORESTREAM_TLS_CERT`` names.
        tls_key: file (PEM) with its key; None: what ``SCORESTREAM_TLS_KEY`` names.
        patience: seconds for which a call or a subscription is tried again while no server answers.

    Raises:
        InvalidArgumentError: `address` is no address; a file is missing or of no use; the token would be sent
            without TLS.
    """
    access = access_to(checked_address(address), token, tls_ca, tls_cert, tls_key)
    return Client(Connection(address, access, patience=patience))


def local(data_dir: str | Path | None = None, device: str = "auto", workers: int | None = None) -> Client:
    """Start a private server and return its client; it ends when the client is closed.

    Paths given to `load_table` and `score` are then your own: relative to the current directory.

    Args:
        data_dir: where the server keeps its state; None: a temporary directory, removed in the end.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: number of worker processes; None: the server decides.

    Raises:
        FailedPreconditionError: the server's dependencies are not installed, or `data_dir` is another server's
            or cannot be trusted.
        InvalidArgumentError: the server refused `device` or `workers`.
        UnavailableError: the server did not start; the message ends with its last words.
    """
    server = transport.run(PrivateServer, data_dir, device, workers)
    access = Access(server.token)
    connection = Connection(server.address, access, patience=DEFAULT_PATIENCE, files_from=Path.cwd())
    return Client(connection, server)
