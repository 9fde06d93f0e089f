"""Where what lies in the data directory: path arithmetic only."""

import re
from dataclasses import dataclass
from pathlib import Path

TABLE_FOLDER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Names of the folders in a cache directory; nothing else there is ever touched."""


class UnusableDirectoryError(Exception):
    """The data directory cannot be served from; the message says why, and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The folders below the server's data directory.

    ::

        server.lock                                     held by the server that owns the directory
        scorestream.db                                  the store
        publishing/<job>.json                           what an output is becoming, outside of here
        kernels/<user>/                                 compiled kernels of workers that run as another user
        audit.log                                       who changed what
        models/<digest>                                 model files
        kept/<name>                                     old versions of users' files that tables read in place
        sessions/<session>/jobs/<job>/part-00000.arrow  committed partitions
        sessions/<session>/jobs/<job>/attempts/         where workers that run as another user write them
        cache/<table uid>/                              converted and uploaded tables, unless `caches` says otherwise
        store.id                                        whose cache directories are this store's
        sessions/<session>/home/                        files of the session's owner
        sessions/<session>/reads/                       rows on their way to a client
        tables/<table uid>/                             files that a global table has to itself
        reads/                                          rows of global tables on their way to a client

    Attributes:
        root: the data directory.
        caches: the cache directories; empty: the one in the data directory.

    Stores of before the cache have tables in ``sessions/<session>/tables/<table uid>/``.
    """

    root: Path
    caches: tuple[Path, ...] = ()

    @property
    def database_url(self) -> str:
        """URL of the store."""
        return f"sqlite:///{self.database}"

    @property
    def database(self) -> Path:
        """File of the store."""
        return self.root / "scorestream.db"

    @property
    def lock(self) -> Path:
        """File whose lock says that a server owns the directory."""
        return self.root / "server.lock"

    @property
    def publishing(self) -> Path:
        """Folder of the notes on outputs that are being written."""
        return self.root / "publishing"

    @property
    def audit(self) -> Path:
        """The audit log."""
        return self.root / "audit.log"

    @property
    def kernels(self) -> Path:
        """Folder of the folders for compiled kernels of workers that run as another user."""
        return self.root / "kernels"

    @property
    def models(self) -> Path:
        """Folder of the model files, by digest."""
        return self.root / "models"

    @property
    def kept(self) -> Path:
        """Folder of old versions of users' files, each named by what identified it."""
        return self.root / "kept"

    @property
    def sessions(self) -> Path:
        """Folder of the sessions' folders."""
        return self.root / "sessions"

    def session(self, session_id: str) -> Path:
        """Everything that ends with a session."""
        return self.sessions / session_id

    def job(self, session_id: str, job_id: str) -> Path:
        """A job's committed partitions."""
        return self.session(session_id) / "jobs" / job_id

    def attempts(self, session_id: str, job_id: str) -> Path:
        """Where workers that run as another user write a job's partitions."""
        return self.job(session_id, job_id) / "attempts"

    def journal(self, job_id: str) -> Path:
        """The note on the output that a job is writing."""
        return self.publishing / f"{job_id}.json"

    def partition(self, session_id: str, job_id: str, index: int) -> Path:
        """The committed result of one partition."""
        return self.job(session_id, job_id) / f"part-{index:05d}.arrow"

    @property
    def cache_dirs(self) -> tuple[Path, ...]:
        """Folders of the tables in the cache, at least one."""
        return self.caches or (self.root / "cache",)

    @property
    def store_id(self) -> Path:
        """File with the name by which cache directories know their store."""
        return self.root / "store.id"

    def table(self, session_id: str, table_uid: str) -> Path:
        """Files of a converted or uploaded table of before the cache."""
        return self.session(session_id) / "tables" / table_uid

    @property
    def global_tables(self) -> Path:
        """Folder of the folders of global tables."""
        return self.root / "tables"

    def global_table(self, table_uid: str) -> Path:
        """Files of a global table."""
        return self.global_tables / table_uid

    def home(self, session_id: str) -> Path:
        """The session's home, where nothing else says where that is."""
        return self.session(session_id) / "home"

    def reads(self, session_id: str) -> Path:
        """Rows of a session's tables on their way to a client; where it is empty, of global tables."""
        return (self.session(session_id) if session_id else self.root) / "reads"
