"""Where what lies in the data directory: path arithmetic only."""

from dataclasses import dataclass
from pathlib import Path


class UnusableDirectoryError(Exception):
    """The data directory cannot be served from; the message says why, and what to do. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The folders below the server's data directory.

    ::

        server.lock                                     held by the server that owns the directory
        scorestream.db                                  the store
        publishing/<job>.json                           what an output is becoming, outside of here
        audit.log                                       who changed what
        models/<digest>                                 model files
        sessions/<session>/jobs/<job>/part-00000.arrow  committed partitions
        sessions/<session>/tables/<table uid>/          converted and uploaded tables
        sessions/<session>/home/                        files of the session's owner
        sessions/<session>/reads/                       rows on their way to a client
        tables/<table uid>/                             converted and uploaded tables that are global
        reads/                                          rows of global tables on their way to a client
    """

    root: Path

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
    def models(self) -> Path:
        """Folder of the model files, by digest."""
        return self.root / "models"

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

    def journal(self, job_id: str) -> Path:
        """The note on the output that a job is writing."""
        return self.publishing / f"{job_id}.json"

    def partition(self, session_id: str, job_id: str, index: int) -> Path:
        """The committed result of one partition."""
        return self.job(session_id, job_id) / f"part-{index:05d}.arrow"

    def table(self, session_id: str, table_uid: str) -> Path:
        """Files of a converted or uploaded table."""
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
