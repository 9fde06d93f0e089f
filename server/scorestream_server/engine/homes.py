"""The homes of sessions: changed by one at a time, measured after each change; and paths that lead into them."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from weakref import WeakValueDictionary

import sqlalchemy as sa

from scorestream_server.domain.data_directory import DataDirectory
from scorestream_server.domain.disk import StorageError
from scorestream_server.domain.home import home_place
from scorestream_server.domain.session import Session, SessionState
from scorestream_server.domain.table import Destination, InputFile
from scorestream_server.store import filerefs as fileref_store
from scorestream_server.store import homes as home_store
from scorestream_server.store import sessions as session_store
from scorestream_server.store.database import Database
from scorestream_server.store.filerefs import Targets
from scorestream_server.tables.home import Home
from scorestream_server.tables.paths import DataRoots


class Homes:
    """Lets one after the other change a home, and has the store know what it takes."""

    def __init__(self, database: Database, directory: DataDirectory) -> None:
        self._database = database
        self._directory = directory
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, session: Session) -> Home:
        """Return a session's home."""
        return Home(home_place(self._directory, session).root)

    @contextlib.asynccontextmanager
    async def changing(self, session: Session) -> AsyncIterator[Home]:
        """Give a session's home to be changed, alone until the block ends; then it is measured."""
        home, lock = self.of(session), self._locks.setdefault(session.id, asyncio.Lock())
        async with lock:
            try:
                yield home
            finally:
                # What was changed is changed, also where that cannot be written down now; the next change does.
                with contextlib.suppress(OSError, StorageError):
                    await self._write_down(session, home)

    async def measure(self, session_id: str) -> None:
        """Note what a home takes in which something was written without this."""
        session = await self._database.read(
            lambda connection: session_store.get(connection, session_id, None)
        )
        async with self.changing(session):
            pass

    async def _write_down(self, session: Session, home: Home) -> None:
        use = await asyncio.to_thread(home.measure)

        def put(connection: sa.Connection) -> bool:
            ended = session_store.get(connection, session.id, None).state is SessionState.ENDED
            if not ended:
                home_store.put(connection, session.id, use)
            return ended

        if await self._database.write(put) and home_place(self._directory, session).transient:
            # What came in after its session's end took the home away.
            for folder in (home.root, self._directory.session(session.id)):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Places:
    """Paths that a client gave, with what is needed to find what they stand for.

    Attributes:
        targets: the paths, filerefs replaced.
        home: folder of the session's home.
    """

    targets: Targets
    home: Path

    @classmethod
    def of(
        cls, connection: sa.Connection, directory: DataDirectory, session: Session, texts: Sequence[str]
    ) -> Self:
        """Return the places that paths stand for in a session.

        Raises:
            ScorestreamError: NOT_FOUND, for a fileref that there is not.
        """
        targets = fileref_store.targets(connection, session.id, texts)
        return cls(targets, home_place(directory, session).root)

    def inputs(self, roots: DataRoots) -> tuple[InputFile, ...]:
        """Return the files to make a table of; raises what `DataRoots.inputs` does."""
        with self.targets.told():
            return roots.inputs(self.targets.paths, self.home)

    def output(self, roots: DataRoots) -> Destination:
        """Return where the only path, an output, goes; raises what `DataRoots.output` does."""
        Home(self.home).ensure()
        with self.targets.told():
            return roots.output(self.targets.paths[0], self.home)

    def file(self, roots: DataRoots) -> Path:
        """Return the file or directory at the only path; raises what `DataRoots.resolve` does."""
        with self.targets.told():
            return roots.resolve(self.targets.paths[0], self.home)
