"""What of the data directory a worker that runs as another user gets at: what its jobs need, and nothing else.

All that the server keeps is closed to its group, too, until such a job needs it. Then the group, in which nobody is but
the server and such workers, may read the job's model and its table, and write to a folder of the job's own. On the way
there it may pass through folders, and see no names in them.
"""

import asyncio
import stat
from collections.abc import Iterable
from pathlib import Path

from scorestream_server.domain.account import find_account, own_rights, why_not
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.home import home_place
from scorestream_server.engine.active import ActiveJob
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.tables.access import PASS, READ, admit
from scorestream_server.tables.files import disk_errors
from scorestream_server.workers.contexts import ContextPools


class Admission:
    """Lets the workers of contexts at what their jobs need, where they run as another user than the server."""

    def __init__(self, database: Database, contexts: ContextPools, directory: DataDirectory) -> None:
        self._database = database
        self._contexts = contexts
        self._directory = directory

    async def admit(self, active: ActiveJob) -> None:
        """Let the workers of a job at it, whose folder is there; nothing is done for the server's own user.

        Files below data roots are not touched: they are read with the user's own rights.

        Raises:
            ScorestreamError: DIRECTORY_NOT_WRITABLE, where something belongs to another user; DISK_FULL.
        """
        user = self._contexts.run_as(active.job.spec.context)
        if not user:
            return
        session = await self._database.read(
            lambda connection: session_store.get(connection, active.job.session_id, None)
        )
        home = home_place(self._directory, session).root
        if await asyncio.to_thread(_is_safe, user):
            active.attempts = await asyncio.to_thread(_open, active, self._directory, home)


def _is_safe(user: str) -> bool:
    """Whether workers run as this user, and not as the server's. Where none can, none is started, and that says why."""
    account, rights = find_account(user), own_rights()
    return account is not None and account.uid != rights.uid and not why_not(account, rights)


def _open(active: ActiveJob, directory: DataDirectory, home: Path) -> Path:
    """Open what a job needs to this process's group, and return the folder that is written to."""
    session = directory.session(active.job.session_id)
    attempts = directory.attempts(active.job.session_id, active.job.id)
    with disk_errors(attempts):
        attempts.mkdir(exist_ok=True)
    passed = [directory.root, directory.models, directory.sessions, *_between(session, attempts)]
    read = [Path(active.opening.model_path)]
    for path in (Path(file.path) for file in active.table.files):
        if (top := next((top for top in (session, home) if path.is_relative_to(top)), None)) is not None:
            passed += _between(top, path)
            read.append(path)
    for folder in dict.fromkeys(passed):
        admit(folder, PASS)
    for path in read:
        admit(path, READ)
    admit(attempts, stat.S_IRWXG)
    return attempts


def _between(top: Path, path: Path) -> Iterable[Path]:
    """Return a folder and those between it and a path below it."""
    return [folder for folder in path.parents if folder.is_relative_to(top)]
