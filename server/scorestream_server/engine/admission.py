"""What of the data directory a worker that runs as another user gets at: what its jobs need, and nothing else.

All that the server keeps is closed to its group, too, until such a job needs it. Then the group, in which nobody is but
the server and such workers, may read the job's model and its table (in the session, in its home, in the cache, and old
versions that were kept), and write to a folder of the job's own. On the way
there it may pass through folders, and see no names in them.
"""

import asyncio
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from scorestream_server.domain.account import find_account, own_rights, why_not
from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.home import home_place
from scorestream_server.domain.session import Session
from scorestream_server.domain.table import InputFile
from scorestream_server.engine.active import ActiveJob
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.tables.access import PASS, READ, admit
from scorestream_server.tables.files import disk_errors
from scorestream_server.tables.kept import needed_names
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
        home = await self._home(active.job.session_id, active.job.spec.context)
        if home is not None:
            active.attempts = await asyncio.to_thread(_open, active, self._directory, home)

    async def admit_inputs(self, session: Session, files: Sequence[InputFile]) -> None:
        """Let the workers of a session's jobs at files of its home that are to become a table.

        That is before the load, because a table would take other permissions for a change of its files.

        Raises:
            ScorestreamError: as `admit`.
        """
        home = await self._home(session.id, session.context)
        if home is not None:
            await asyncio.to_thread(_open_below, [home], [Path(file.path) for file in files])

    async def admit_model(self, context: str, model: Path) -> None:
        """Let the workers of a context at a model; errors as of `admit`."""
        if not (user := self._contexts.run_as(context)):
            return
        if await asyncio.to_thread(_is_safe, user):
            await asyncio.to_thread(_open_model, self._directory, model)

    async def _home(self, session_id: str, context: str) -> Path | None:
        """Return the home of a session whose workers run as another user; None for those that run as the server."""
        user = self._contexts.run_as(context)
        if not user or not await asyncio.to_thread(_is_safe, user):
            return None
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, None)
        )
        return home_place(self._directory, session).root


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
    if active.table.kept:
        # Files may be kept while the job runs; each is as open as the file was.
        with disk_errors(directory.kept):
            directory.kept.mkdir(exist_ok=True)
        passed.append(directory.kept)
    for folder in passed:
        admit(folder, PASS)
    admit(Path(active.opening.model_path), READ)
    paths = [file.path for file in active.table.files]
    paths += [copy for one in active.table.cached for copy in one.copies]
    _open_below([session, home, directory.global_tables, *directory.cache_dirs], map(Path, paths))
    for version in (directory.kept / name for name in needed_names(active.table)):
        # One that is a user's file by another name is left as it is, where that will do.
        if version.exists() and not version.stat().st_mode & stat.S_IROTH:
            admit(version, READ)
    admit(attempts, stat.S_IRWXG)
    return attempts


def _open_model(directory: DataDirectory, model: Path) -> None:
    for folder in (directory.root, directory.models):
        admit(folder, PASS)
    admit(model, READ)


def _open_below(tops: Sequence[Path], paths: Iterable[Path]) -> None:
    """Open those files that lie in some folders, which may be passed through then."""
    passed: set[Path] = set()
    for path in paths:
        top = next((top for top in tops if path.is_relative_to(top)), None)
        if top is not None:
            for folder in _between(top, path):
                if folder not in passed:
                    admit(folder, PASS)
                    passed.add(folder)
            admit(path, READ)


def _between(top: Path, path: Path) -> Iterable[Path]:
    """Return a folder and those between it and a path below it."""
    return [folder for folder in path.parents if folder.is_relative_to(top)]
