"""New sessions: what the context that they are made from gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from scorestream_server.domain.context import task_limit
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.engine import log_lines
from scorestream_server.engine.queues import QueueCounts
from scorestream_server.store import log as log_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.contexts import ContextStore

DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class SessionWish:
    """A session that is to be made.

    Attributes:
        queue: of its jobs, where its context names none.
        inactive_timeout: seconds; None: as its context says.
        time: now, seconds since 1970.
    """

    id: str
    name: str
    owner: str
    context: str
    queue: str
    time: float
    weight: int = DEFAULT_WEIGHT
    inactive_timeout: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class SessionMaker:
    """Makes sessions.

    Args:
        contexts: that they are made from.
        queues: that there are.
        most: open ones that one user may have.
        most_task_seconds: as long as the server lets any job run; 0 for ever.
    """

    def __init__(
        self, contexts: ContextStore, queues: QueueCounts, most: int, most_task_seconds: float
    ) -> None:
        self.contexts = contexts
        self._queues = queues
        self._most = most
        self._most_task_seconds = most_task_seconds

    def make(self, connection: sa.Connection, wish: SessionWish, request_id: str) -> Session:
        """Insert a session; a request id seen before gives the session of then.

        Raises:
            ScorestreamError: NOT_FOUND, where the context is not there; RESOURCE_EXHAUSTED.
        """
        # In one transaction: a context is not deleted while a session is made from it.
        settings = self.contexts.get(connection, wish.context).settings
        session = Session(
            wish.id,
            wish.name,
            wish.owner,
            SessionState.ACTIVE,
            wish.weight,
            wish.time,
            wish.time,
            None,
            running_jobs=0,
            inactive_timeout=(
                settings.session_inactive_timeout if wish.inactive_timeout is None else wish.inactive_timeout
            ),
            labels=wish.labels,
            context=wish.context,
            queue=self._queues.check(
                f"contexts/{wish.context}.queue_name", settings.queue_name or wish.queue
            ),
            task_timeout=task_limit(settings, self._most_task_seconds),
            home_directory=settings.home_directory,
            context_options=settings.options,
        )
        made = session_store.create(connection, session, request_id, self._most)
        if made.id == session.id:
            first = log_lines.session_created(made.id, made.name, made.owner, wish.time)
            log_store.write(connection, first)
        return made
